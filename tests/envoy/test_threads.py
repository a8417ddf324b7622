"""Which threads of a real worker may interrupt its loop."""

import os
from pathlib import Path

from limpet_operator.local import Local


def threads(process: int) -> list[int]:
    """Of Linux, by its number."""
    return [int(task.name) for task in Path(f"/proc/{process}/task").iterdir()]


async def test_those_of_grpc_may_not(by_metadata: tuple[Local, int]) -> None:
    gateway, _ = by_metadata
    worker = gateway.children.pid("ext_proc")
    policies = {thread: os.sched_getscheduler(thread) for thread in threads(worker)}
    assert policies.pop(worker) == os.SCHED_OTHER
    assert os.SCHED_BATCH in policies.values()
