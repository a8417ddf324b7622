"""`limpet bench growth`: its figures, its gateways through the real Envoy and Redis, and how it fails; without wrk."""

import asyncio
import io
import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from limpet_lab.bench.command import bench
from limpet_lab.bench.growth import VALUES, loaded, require_found
from limpet_lab.bench.growth_gateways import Dimension, GrownGateway, gateways, objects
from limpet_lab.bench.growth_report import JUDGED, GrowthTurn, bars, summary, table
from limpet_lab.bench.latency import NotMeasuredError, decisions_of, metrics_text
from limpet_lab.bench.latency_load import CLIENT_KEY, CONVERSATIONS, MODEL, SIZES, body, write_bodies
from limpet_lab.bench.latency_targets import ask
from limpet_lab.bench.ratios import middle_of


def _turn(busy: float, slower: float = 1.0) -> GrowthTurn:
    """On a machine that is so busy, of a gateway that is so much slower."""
    cost = busy * slower
    return GrowthTurn(2_000 / cost, 20.0 * cost, 2.0 * cost, 300.0 * cost, 200.0 * cost, requests=100)


def _rounds(*slower: float) -> list[dict[int, GrowthTurn]]:
    return [{1_000 * 10**at: _turn(busy, each) for at, each in enumerate((1.0, *slower))} for busy in (1, 3, 9)]


def _summary(dimension: Dimension, *slower: float) -> dict[str, Any]:
    decided = [{"sticky.hit": 90, "sticky.pending": 5, "first.scored": 5}] * (1 + len(slower))
    return summary(dimension, _rounds(*slower), decided)


def test_each_round_has_ratios_of_its_own_however_busy_the_machine_was() -> None:
    found = _summary(Dimension.CONVERSATIONS, 1.02, 1.05)
    first, second, last = found["values"]
    assert [each["value"] for each in found["values"]] == [1_000, 10_000, 100_000]
    assert (first["rps"], first["p99_ms"], first["envoy_us"]) == (pytest.approx(2_000 / 3), 60.0, 900.0)
    assert (first["sticky"], first["decisions"]["sticky.hit"], "ratio" in first) == (0.95, 90, False)
    assert second["ratio"]["p99_ms"]["median"] == pytest.approx(1.02)
    assert last["ratio"]["cpu"] == pytest.approx({"median": 1.05, "low": 1.05, "high": 1.05})
    assert last["ratio"]["rps"]["median"] == pytest.approx(1 / 1.05)
    assert (found["rounds"], found["requests"]) == (3, 900)


@pytest.mark.parametrize(
    ("dimension", "slower", "held"),
    [
        (Dimension.MODELS, 1.05, dict.fromkeys(JUDGED, True)),
        (Dimension.MODELS, 1.105, {"rps": True, "p99_ms": False, "p99_one_ms": False}),
        (Dimension.PROVIDERS, 1.2, dict.fromkeys(JUDGED, False)),
        (Dimension.WORKERS, 1.05, {"rps": False}),
        (Dimension.WORKERS, 0.95, {"rps": True}),
    ],
)
def test_only_workers_must_bring_more_and_all_others_may_cost_a_little(
    dimension: Dimension, slower: float, held: dict[str, bool]
) -> None:
    # What is between the first and the last value has no bar.
    assert _summary(dimension, 7.0, slower)["held"] == held


def test_the_tables_fit_80_columns_and_say_what_was_missed() -> None:
    found = {dimension: _summary(dimension, 1.02, 1.2) for dimension in Dimension}
    console = Console(width=80, record=True, file=io.StringIO())
    for dimension, each in found.items():
        console.print(table(dimension, each))
    console.print(bars(found))
    text = console.export_text()
    assert "…" not in text
    for words in ("100,000", "× 1.02", "both × 1.20", "95.0 %", "1.20 to 1.20"):
        assert words in text
    assert (text.count("missed"), text.count("holds")) == (10, 0)


def test_a_ratio_that_something_disturbed_moves_the_median_no_further_than_the_next() -> None:
    ratios = [1.0 + number / 100 for number in range(100)]
    assert middle_of([9_000.0, *ratios[1:]]) == pytest.approx({"median": 1.505, "low": 1.41, "high": 1.6})
    assert middle_of([2.0]) == {"median": 2.0, "low": 2.0, "high": 2.0}


@pytest.mark.parametrize(("value", "sellers"), [(10, 3), (1_000, 6)])
def test_each_of_many_models_has_as_many_sellers(value: int, sellers: int) -> None:
    written = objects(Dimension.MODELS, value, 1)
    specs = [each["spec"] for each in written if each["kind"] == "Provider"]
    assert len(specs) == sellers
    assert max(len(spec["models"]) for spec in specs) <= 512
    offers = Counter(model["name"] for spec in specs for model in spec["models"])
    assert (len(offers), set(offers.values())) == (value, {3})
    assert MODEL in offers


def test_many_sellers_of_one_model_are_near_equal_and_all_different() -> None:
    def prices(*, one_price: bool) -> list[float]:
        written = objects(Dimension.PROVIDERS, 300, 1, one_price=one_price)
        models = [each["spec"]["models"][0] for each in written if each["kind"] == "Pricing"]
        return [float(model["perMillionTokens"]["input"]) for model in models]

    different = prices(one_price=False)
    assert len(set(different)) == 300
    assert max(different) < 1.25 * min(different)
    assert prices(one_price=True) == [0.5] * 300


def test_what_is_asked_of_the_issue_is_measured() -> None:
    assert {dimension.value: [*values] for dimension, values in VALUES.items()} == {
        "workers": [1, 2],
        "conversations": [1_000, 100_000, 1_000_000],
        "providers": [3, 30, 300],
        "models": [10, 1_000],
    }
    # A session that comes again has the body that it had before.
    assert not any(value % CONVERSATIONS for value in VALUES[Dimension.CONVERSATIONS])


@pytest.mark.envoy
async def test_so_many_conversations_are_remembered_and_no_more(tmp_path: Path) -> None:
    bodies = write_bodies(tmp_path / "bodies", SIZES["12KB"])

    async def known(gateway: GrownGateway, sessions: range) -> int:
        reasons = []
        for session in sessions:
            content = bodies.joinpath(f"{(session - 1) % CONVERSATIONS}.json").read_bytes()
            headers = {"authorization": f"Bearer {CLIENT_KEY}", "x_session_id": str(session)}
            status, answered = await asyncio.to_thread(ask, gateway.url, content, **headers)
            assert status == 200
            reasons.append(answered["x-limpet-decision"])
        return reasons.count("sticky.hit")

    said: list[str] = []
    async with gateways(Dimension.CONVERSATIONS, (600,), tmp_path, bodies, said.append) as (gateway,):
        assert gateway.sessions == 600
        assert await known(gateway, range(1, 11)) == 10, "of those that were played"
        assert await known(gateway, range(591, 601)) == 10, "of those that were copied"
        assert await known(gateway, range(601, 611)) == 0, "of those that nobody has begun"
    assert said == ["conversations 600 is up"]


@pytest.mark.envoy
async def test_two_workers_are_counted_together(tmp_path: Path) -> None:
    bodies = write_bodies(tmp_path / "bodies", SIZES["2KB"])
    async with gateways(Dimension.WORKERS, (1, 2), tmp_path, bodies, print) as both:
        for gateway in both:
            before = gateway.cpu_ns()
            for number in range(10):
                assert (await asyncio.to_thread(ask, gateway.url, body(number, SIZES["2KB"])))[0] == 200
            assert all(used > before[part] for part, used in gateway.cpu_ns().items())
            metrics = await asyncio.to_thread(metrics_text, gateway.metrics_port)
            assert sum(decisions_of(metrics).values()) >= 10


@pytest.mark.envoy
async def test_all_sellers_of_a_value_serve(tmp_path: Path) -> None:
    last = {"provider": {"order": ["seller-4"], "allow_fallbacks": False}}
    asked = json.dumps({**json.loads(body(0, SIZES["2KB"])), **last}).encode()
    async with gateways(Dimension.PROVIDERS, (3, 5), tmp_path, tmp_path, print) as running:
        answers = [await asyncio.to_thread(ask, gateway.url, asked) for gateway in running]
    assert [headers.get("x-limpet-provider") for _, headers in answers] == [None, "seller-4"]


@pytest.mark.envoy
async def test_all_models_of_a_value_are_served(tmp_path: Path) -> None:
    asked = body(0, SIZES["2KB"], "bench/model-500")
    async with gateways(Dimension.MODELS, (2, 501), tmp_path, tmp_path, print) as running:
        assert [(await asyncio.to_thread(ask, gateway.url, asked))[0] for gateway in running] == [404, 200]


def _wrk(folder: Path, bad_statuses: int) -> str:
    """A program that writes its arguments down and answers as wrk does."""
    output = {
        "requests": 4,
        "duration_us": 2_000_000,
        "socket_errors": 0,
        "bad_statuses": bad_statuses,
        "latency": [[100, 4]],
    }
    program = folder / "wrk"
    program.write_text(f"#!/bin/sh\necho \"$@\" >{folder}/arguments\necho 'limpet-bench {json.dumps(output)}'\n")
    program.chmod(0o700)
    return str(program)


async def test_the_load_goes_round_among_the_conversations_that_are_remembered(tmp_path: Path) -> None:
    gateway = GrownGateway(600, "http://127.0.0.1:1/", 0, 0, 0, sessions=600)
    begun = set()
    for seed in range(20):
        await loaded(_wrk(tmp_path, 0), gateway, tmp_path, 1, 1, Random(seed))
        *_, bodies, first, sessions = (tmp_path / "arguments").read_text().split()
        assert (int(bodies), int(sessions)) == (CONVERSATIONS, 600)
        begun.add(int(first))
    assert begun == {0, 200, 400}


async def test_one_failed_request_ends_it(tmp_path: Path) -> None:
    gateway = GrownGateway(300, "http://127.0.0.1:1/", 0, 0, 0)
    with pytest.raises(NotMeasuredError, match="1 of 4 requests failed at the gateway of 300"):
        await loaded(_wrk(tmp_path, 1), gateway, tmp_path, 1, 1, Random(1))


def test_conversations_that_were_not_found_are_not_measured() -> None:
    require_found({"sticky.hit": 80, "sticky.moved.cheaper": 10, "first.scored": 10}, "conversations 1,000")
    with pytest.raises(NotMeasuredError, match=r"conversations 1,000: 89\.0% of the requests found their"):
        require_found({"sticky.hit": 89, "first.scored": 11}, "conversations 1,000")


@pytest.mark.envoy
def test_a_value_that_cannot_run_is_named_and_fails_the_command(tmp_path: Path) -> None:
    _wrk(tmp_path, 0)
    file = tmp_path / "figures.json"
    no_redis = {"PATH": str(tmp_path)}
    result = CliRunner().invoke(bench, ["growth", "--only", "workers", "--json", str(file)], env=no_redis)
    assert result.exit_code == 1
    assert "limpet bench growth: workers 1 cannot run: redis-server is not installed" in result.stderr
    written = json.loads(file.read_text())
    assert (written["growth"], [*written["failed"]]) == ({}, ["workers"])


def test_a_missing_wrk_fails_the_command(tmp_path: Path) -> None:
    result = CliRunner().invoke(bench, ["growth"], env={"PATH": str(tmp_path)})
    assert result.exit_code == 1
    assert "limpet bench growth: the load generator 'wrk' is not installed" in result.stderr
