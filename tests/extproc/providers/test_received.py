"""What other workers tell reaches the part it concerns, and no error there reaches the one who reads."""

import logging

import pytest

from limpet_extproc.providers.events import AttemptFailed, ProviderEvent, TrialBegan
from limpet_extproc.providers.limit_events import RequestSent, UseReported
from limpet_extproc.providers.limit_use import LimitUse
from limpet_extproc.providers.received import Received


class Worker:
    """What came to a worker that knows the provider `a`."""

    def __init__(self) -> None:
        self.applied: list[ProviderEvent] = []
        self.failures = 0
        self.use = LimitUse("n/0", lambda: 1000.0)
        self.received = Received(self._apply, self.use, {"a"}.__contains__, self._failed)

    def _apply(self, event: ProviderEvent) -> None:
        if isinstance(event, AttemptFailed):
            raise ZeroDivisionError
        self.applied.append(event)

    def _failed(self) -> None:
        self.failures += 1


@pytest.fixture
def worker() -> Worker:
    return Worker()


def test_each_event_goes_where_it_belongs(worker: Worker) -> None:
    for event in (TrialBegan("a"), RequestSent("a", 1.0, 10)):
        worker.received.take(event)
    assert worker.applied == [TrialBegan("a")]
    assert worker.use.used("a", 1000.0).under_way == 1


def test_nothing_is_kept_of_a_provider_that_the_catalog_does_not_have(worker: Worker) -> None:
    for event in (TrialBegan("ghost"), RequestSent("ghost", 1.0, 10), UseReported("ghost", "far/0", 1, 1, 1)):
        worker.received.take(event)
    assert worker.applied == []
    assert worker.use.known == 0


def test_an_error_is_counted_each_time_and_said_once(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    for event in (AttemptFailed("a"), AttemptFailed("a"), TrialBegan("a")):
        worker.received.take(event)
    assert worker.failures == 2
    assert worker.applied == [TrialBegan("a")]
    assert len(caplog.records) == 1
    assert "please report this" in caplog.text
