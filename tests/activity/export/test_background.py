"""Whoever hands records over never waits, whatever the other end does, and what is lost is counted."""

from collections.abc import Sequence
from threading import Event

import pytest
from prometheus_client import CollectorRegistry
from tests.activity.export.records import numbered
from tests.waiting import eventually

from limpet_activity.export.background import BackgroundExporter
from limpet_activity.export.export_metrics import ExportMetrics
from limpet_extproc.contract.activity import ActivityRecord


class Shelf:
    """A sink that keeps what it takes; `answers` are how it does so, one a call: a number of records, or an error."""

    def __init__(self, *answers: int | Exception) -> None:
        self.ids: list[str] = []
        self.calls = 0
        self.closed = self.interrupted = False
        self.open = Event()
        self.open.set()
        self._answers = list(answers)

    def write(self, records: Sequence[ActivityRecord]) -> int:
        self.calls += 1
        self.open.wait()
        answer = self._answers.pop(0) if self._answers else len(records)
        if isinstance(answer, Exception):
            raise answer
        self.ids += [record.id for record in records[:answer]]
        return answer

    def interrupt(self) -> None:
        self.interrupted = True
        self.open.set()

    def close(self) -> None:
        self.closed = True


class Stage:
    def __init__(self, sink: Shelf, *, most_waiting: int = 100, pauses_s: Sequence[float] = (0.0, 0.0)) -> None:
        self.registry = CollectorRegistry()
        metrics = ExportMetrics(self.registry)
        self.exporter = BackgroundExporter("otlp", sink, metrics, most_waiting=most_waiting, pauses_s=pauses_s)

    def exported(self) -> float | None:
        return self.registry.get_sample_value("limpet_activity_exported_records_total", {"exporter": "otlp"})

    def lost(self, why: str) -> float | None:
        labels = {"exporter": "otlp", "why": why}
        return self.registry.get_sample_value("limpet_activity_export_lost_records_total", labels)

    def waiting(self) -> float | None:
        return self.registry.get_sample_value("limpet_activity_export_waiting_records", {"exporter": "otlp"})


def ids(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def test_records_arrive_in_their_order_and_close_waits_for_them() -> None:
    sink = Shelf()
    stage = Stage(sink, most_waiting=5000)
    stage.exporter.export(numbered(700))
    stage.exporter.export(numbered(300, 700))
    stage.exporter.close(60)
    assert sink.ids == ids(1000)
    assert sink.closed
    assert (stage.exported(), stage.lost("queue_full"), stage.waiting()) == (1000, 0, 0)


def test_who_hands_over_does_not_wait_for_a_sink_that_hangs() -> None:
    sink = Shelf()
    sink.open.clear()
    stage = Stage(sink, most_waiting=10)
    stage.exporter.export(numbered(1))
    eventually(lambda: sink.calls)
    stage.exporter.export(numbered(25, 1))
    assert (stage.lost("queue_full"), stage.waiting()) == (15, 10)
    sink.open.set()
    stage.exporter.close(60)
    assert sink.ids == ids(11)


def test_what_fails_is_tried_again() -> None:
    sink = Shelf(OSError("away"), 2)
    stage = Stage(sink)
    stage.exporter.export(numbered(5))
    stage.exporter.export(numbered(1, 5))
    eventually(lambda: stage.exported() == 6)
    assert sink.ids == ids(6)
    assert stage.lost("not_taken") == 0
    stage.exporter.close(60)


@pytest.mark.parametrize("answer", [0, OSError("no"), RuntimeError("worse")])
def test_what_is_never_taken_is_counted_and_holds_up_no_other(answer: int | Exception) -> None:
    sink = Shelf(answer, answer, answer)
    stage = Stage(sink)
    stage.exporter.export(numbered(3))
    eventually(lambda: stage.lost("not_taken") == 3)
    stage.exporter.export(numbered(2, 3))
    stage.exporter.close(60)
    assert sink.ids == ["3", "4"]


def test_a_long_failure_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    sink = Shelf(*[OSError("away")] * 6)
    stage = Stage(sink)
    stage.exporter.export(numbered(1))
    eventually(lambda: stage.lost("not_taken") == 1)
    stage.exporter.export(numbered(1))
    stage.exporter.close(60)
    assert [record.getMessage() for record in caplog.records] == ["otlp does not take records: away; it is tried again"]


def test_at_the_end_nothing_is_waited_for_twice() -> None:
    sink = Shelf(*[OSError("away")] * 2)
    stage = Stage(sink, pauses_s=(3600.0, 3600.0))
    stage.exporter.export(numbered(4))
    eventually(lambda: sink.calls == 1)
    stage.exporter.close(60)
    assert stage.lost("not_taken") == 4
    stage.exporter.export(numbered(2))
    assert stage.lost("closed") == 2


def test_a_sink_that_hangs_at_the_end_is_interrupted() -> None:
    sink = Shelf()
    sink.open.clear()
    stage = Stage(sink)
    stage.exporter.export(numbered(1))
    eventually(lambda: sink.calls)
    stage.exporter.close(0.0)
    assert sink.interrupted
    assert sink.closed
