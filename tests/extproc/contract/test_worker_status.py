"""Live, ready or hung: how the parent judges its workers by their reports."""

import pytest

from limpet_extproc.contract.worker_status import WorkerReport, WorkerStatus, stalled, why_not_live, why_not_ready

WELL = WorkerReport("r1", None, 0.4)


@pytest.mark.parametrize(
    ("worker", "not_live", "not_ready"),
    [
        (WorkerStatus(0, True, WELL), [], []),
        (WorkerStatus(0, True, WorkerReport("r1", "nothing listens there", 0.4)), [], []),
        (
            WorkerStatus(0, True, WorkerReport(None, None, 0.4)),
            [],
            ["worker 0: no catalog from the operator yet: waiting for the first"],
        ),
        (
            WorkerStatus(0, True, WorkerReport(None, "nothing listens there", 0.4)),
            [],
            ["worker 0: no catalog from the operator yet: nothing listens there"],
        ),
        (WorkerStatus(0, True, None), [], ["worker 0: it does not answer"]),
        (
            WorkerStatus(0, False, None),
            ["worker 0: its socket takes no connections"],
            ["worker 0: its socket takes no connections"],
        ),
        (
            WorkerStatus(0, False, WELL),
            ["worker 0: its socket takes no connections"],
            ["worker 0: its socket takes no connections"],
        ),
    ],
)
def test_one_worker_that_is_not_well_is_named(worker: WorkerStatus, not_live: list[str], not_ready: list[str]) -> None:
    others = [WorkerStatus(1, True, WELL), WorkerStatus(2, True, WELL)]
    assert why_not_live([worker, *others]) == not_live
    assert why_not_ready([worker, *others]) == not_ready


@pytest.mark.parametrize(("report", "hangs"), [(WELL, False), (WorkerReport(None, None, 4.9), False), (None, True)])
def test_silence_speaks_for_a_worker_that_hangs_and_a_late_turn_does_not(
    report: WorkerReport | None, hangs: bool
) -> None:
    assert stalled(report) is hangs


def test_a_loop_that_does_not_turn_hangs_though_another_thread_answers() -> None:
    assert stalled(WorkerReport("r1", None, 6.0))
