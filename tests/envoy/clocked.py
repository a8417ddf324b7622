"""A stage whose worker's clock the story sets ahead, so that none waits for a minute to pass."""

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.envoy import worker_by_file
from tests.envoy.conftest import running_gateway, set_stage
from tests.envoy.stage import Stage

from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser


@asynccontextmanager
async def stage_with_a_clock(
    numbers: Iterator[int], sellers: Sellers, parser: Parser, directory: Path
) -> AsyncIterator[tuple[Stage, Callable[[float], None]]]:
    """The stage, and what sets the clock ahead by so many seconds more. `directory` is for the clock."""
    file, total_s = directory / "seconds-ahead", 0.0

    def pass_s(seconds: float) -> None:
        nonlocal total_s
        total_s += seconds
        # The worker reads it all the while, and so must never find half of it.
        beside = file.with_suffix(".part")
        beside.write_text(str(total_s))
        beside.replace(file)

    pass_s(0.0)
    program = (sys.executable, worker_by_file.__file__, str(file))
    async with (
        running_gateway(header_mode=False, extproc=program) as running,
        set_stage(next(numbers), sellers, running, parser) as stage,
    ):
        await running[0].ready()
        yield stage, pass_s
