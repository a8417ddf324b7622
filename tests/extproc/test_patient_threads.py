"""Which threads of a worker may interrupt the others."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from limpet_extproc.patient_threads import patient_threads


@pytest.fixture
def before() -> Iterator[int]:
    policy = os.sched_getscheduler(0)
    yield policy
    assert os.sched_getscheduler(0) == policy


def test_only_threads_started_inside_are_patient(before: int) -> None:
    with patient_threads():
        inside = ThreadPoolExecutor(1)
        assert inside.submit(os.sched_getscheduler, 0).result() == os.SCHED_BATCH
    with inside, ThreadPoolExecutor(1) as after:
        assert inside.submit(os.sched_getscheduler, 0).result() == os.SCHED_BATCH
        assert after.submit(os.sched_getscheduler, 0).result() == before


def test_an_error_inside_makes_nobody_else_patient(before: int) -> None:
    with pytest.raises(LookupError), patient_threads():
        raise LookupError
