"""`limpet bench exchange`: a short run of the real thing, and what it would find wrong."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from limpet_lab.bench.command import bench
from limpet_lab.bench.exchange_clients import HungUp, WaitingClients
from limpet_lab.bench.exchange_counters import ERRORS, broken_off, more, read
from limpet_lab.bench.exchange_report import MORE_MB, ExchangeRun, WorkerSize, as_json, wrong
from limpet_lab.bench.exchange_stalled import Stalls

STATS = """\
cluster.limpet_extproc.http2.rx_reset: 0
cluster.limpet_extproc.upstream_rq_total: 1479
cluster.limpet_extproc.upstream_cx_length_ms: P0(nan,1.0) P100(nan,2.0)
cluster.limpet_extproc_other.upstream_rq_total: 7
http.clients.ext_proc.stream_msgs_sent: 1000
http.sidecars.ext_proc.stream_msgs_sent: 479
http.clients.ext_proc.stream_msgs_received: 1249
http.clients.downstream_rq_total: 5
"""
SIZE = WorkerSize(100.0, 13, 2)


def held() -> ExchangeRun:
    return ExchangeRun(
        10,
        ordinary=WaitingClients(1000),
        large=WaitingClients(3),
        hung_up=HungUp(5, 5),
        unread=Stalls(9),
        no_window=Stalls(9),
        envoy={"ext_proc.stream_msgs_sent": 1010, "ext_proc.stream_msgs_received": 1003, "upstream_rq_total": 1010},
        before=SIZE,
        after=SIZE,
    )


def test_counters_are_those_of_the_cluster_and_of_the_filter_in_all_listeners() -> None:
    found = read(STATS)
    assert found == {
        "http2.rx_reset": 0,
        "upstream_rq_total": 1479,
        "ext_proc.stream_msgs_sent": 1479,
        "ext_proc.stream_msgs_received": 1249,
    }
    assert broken_off(found) == 230
    assert more({"upstream_rq_total": 1000}, found)["upstream_rq_total"] == 479


def test_a_run_in_which_all_held_has_nothing_wrong() -> None:
    assert wrong(held()) == []
    assert as_json(held())["wrong"] == []


@pytest.mark.parametrize("name", ERRORS)
def test_each_counter_of_errors_is_wrong_above_0(name: str) -> None:
    result = held()
    result.envoy[name] = 1
    assert wrong(result) == [f"Envoy counted 1 of {name}"]
    assert as_json(result)["envoy"][name] == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ordinary": WaitingClients()}, "no ordinary request"),
        (
            {"ordinary": WaitingClients(9, failed=1, last_failure="status 503")},
            "1 ordinary requests failed, the last with status",
        ),
        ({"large": WaitingClients(9, undecided=2)}, "2 large requests were not decided"),
        ({"hung_up": HungUp(0, 5)}, "nobody hung up within a body"),
        ({"hung_up": HungUp(5, 0)}, "nobody hung up while waiting"),
        ({"unread": Stalls()}, "nobody called and read nothing"),
        ({"no_window": Stalls()}, "nobody called without a window"),
        ({"envoy": {"ext_proc.stream_msgs_sent": 7, "ext_proc.stream_msgs_received": 7}}, "no call was broken off"),
        ({"after": WorkerSize(101.0 + MORE_MB, 13, 2)}, "did not come back"),
        ({"after": WorkerSize(100.0, 14, 2)}, "did not come back"),
        ({"after": WorkerSize(100.0, 13, 3)}, "did not come back"),
    ],
)
def test_whatever_did_not_hold_is_said(changes: dict[str, object], expected: str) -> None:
    result = held()
    for name, value in changes.items():
        setattr(result, name, value)
    (line,) = wrong(result)
    assert expected in line


@pytest.mark.envoy
def test_a_short_run_holds(tmp_path: Path) -> None:
    file = tmp_path / "exchange.json"
    command = ["exchange", "--minutes", "0.1", "--large-mib", "2", "--json", str(file)]
    result = CliRunner().invoke(bench, command)
    assert result.exit_code == 0, result.output
    figures = json.loads(file.read_text())
    assert (figures["wrong"], figures["ordinary"]["failed"], figures["large"]["failed"]) == ([], 0, 0)
    assert all(figures["envoy"][name] == 0 for name in ERRORS)
