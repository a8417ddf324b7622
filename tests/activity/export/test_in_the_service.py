"""The service as it runs: what workers hand over comes out as lines and as spans, whatever the collector does."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from tests.activity.export.collectors import grpc_collector
from tests.activity.export.records import numbered
from tests.waiting import eventually

from limpet_extproc.contract.activity import METHOD, VERSION, ActivityBatch, ActivityRecord, encode_batch

pytestmark = pytest.mark.slow


class Running:
    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.http = f"127.0.0.1:{probe.getsockname()[1]}"
        self.lines = folder / "activity.jsonl"
        self._socket = f"unix:{folder}/a.sock"
        flags = ["--store", "none", "--listen", self._socket, "--http", self.http, "--json-lines", str(self.lines)]
        own = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
        self.process = subprocess.Popen([sys.executable, "-m", "limpet_activity", *flags], env={**own, **environ})

    def take(self, records: Sequence[ActivityRecord]) -> None:
        batch = ActivityBatch(VERSION, "laptop", 0, 0, 0.0, records)
        with grpc.insecure_channel(self._socket) as channel:
            take: Any = cast("Any", channel).unary_unary(METHOD)  # Raw bytes; the stubs insist on coders.
            take(encode_batch(batch), timeout=60)

    def metric(self, name: str) -> float:
        page = self._page("/metrics")
        return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(f"{name}{{"))

    def is_ready(self) -> bool:
        assert self.process.poll() is None
        try:
            return bool(self._page("/readyz"))
        except (OSError, HTTPException):
            return False

    def _page(self, path: str) -> str:
        connection = HTTPConnection(self.http, timeout=60)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.read().decode() if answer.status == 200 else ""
        finally:
            connection.close()

    def ids(self) -> list[str]:
        """Of the lines that are whole: one may be read while it is written."""
        *whole, _ = self.lines.read_text().split("\n")
        return [json.loads(line)["id"] for line in whole]


@contextmanager
def running(folder: Path, environ: Mapping[str, str]) -> Iterator[Running]:
    service = Running(folder, environ)
    try:
        eventually(service.is_ready)
        yield service
    finally:
        service.process.kill()
        service.process.wait()


def test_records_come_out_once_as_lines_and_spans(tmp_path: Path) -> None:
    with grpc_collector() as (endpoint, received):
        environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
        with running(tmp_path, environ) as service:
            service.take(numbered(3))
            service.take(numbered(4))
            eventually(lambda: service.ids() == ["0", "1", "2", "3"])
            service.process.send_signal(signal.SIGHUP)
            service.lines.rename(tmp_path / "old")
            service.take(numbered(1, 4))
            service.process.terminate()
            assert service.process.wait(60) == 0
            assert service.ids() == ["4"]
        assert len([span for span in received.spans() if not span.parent_span_id]) == 5
        assert received.resource()["service.name"] == "limpet"
        assert not any("words of a prompt" in str(request) for request in received.requests)


def test_a_collector_that_is_away_holds_up_neither_workers_nor_lines(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with running(tmp_path, {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}) as service:
            for begin in range(0, 2500, 500):
                service.take(numbered(500, begin))
            eventually(lambda: len(service.ids()) == 2500)
            # They are counted once they are written, which is after they can be read.
            eventually(lambda: service.metric("limpet_activity_exported_records_total") == 2500)
            service.process.terminate()
            assert service.process.wait(60) == 0


def test_a_variable_meant_for_others_leaves_the_lines_as_they_are(tmp_path: Path) -> None:
    with running(tmp_path, {"OTEL_TRACES_EXPORTER": "zipkin"}) as service:
        service.take(numbered(3))
        eventually(lambda: service.ids() == ["0", "1", "2"])
