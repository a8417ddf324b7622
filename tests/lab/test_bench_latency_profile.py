"""`limpet bench latency --profile`: to which stage a moment belongs, what is left out of Envoy, and the figures."""

import asyncio
import json
import signal
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from limpet_extproc.contract.reasons import UNDECIDED
from limpet_extproc.envoy.outcome import Outcomes
from limpet_lab.bench.latency_load import MODEL, SIZES, body
from limpet_lab.bench.latency_profile import ENVOY_PARTS, EXTPROC_PARTS, ProfileRound, Sampled, envoys, report, tables
from limpet_lab.bench.latency_profile_envoy import PARTS, whole
from limpet_lab.bench.latency_profile_stages import MODULES, OUTCOMES, STAGES, Running, Stage, stage_of
from limpet_lab.bench.latency_profile_worker import Sampler
from limpet_lab.bench.latency_targets import ask, chat_url, configuration, start_envoy, upstream_config
from limpet_operator.laptop.children import Children
from limpet_operator.laptop.machine import free_port
from limpet_operator.planning.plan import Plan, plan
from limpet_operator.publish.attempt_filters import ATTEMPT_FILTER
from limpet_operator.publish.envoy_settings import EXT_PROC_FILTER, EnvoySettings
from limpet_operator.resources.objects import Objects, Parser
from limpet_operator.resources.problem import ObjectKey

_LOOP = ("asyncio.runners:run", "limpet_extproc.process.worker:run")
_CALL = ("limpet_extproc.envoy.grpc_server:_end", "limpet_extproc.envoy.h2_connection:data_received", *_LOOP)
_ENTRY = (f"{OUTCOMES}:_learn_from", f"{OUTCOMES}:stream", *_LOOP)


@pytest.mark.parametrize(
    ("stack", "stage"),
    [
        (_LOOP, "other"),
        (("limpet_extproc.envoy.h2_frames:frame", *_CALL), "http2"),
        (("limpet_extproc.envoy.wire:body_apart", *_CALL), "reading"),
        (("limpet_extproc.dialects.openai_chat:read", *_CALL), "reading"),
        (("hmac:digest", "limpet_extproc.request.identity:key", *_CALL), "identity"),
        (("limpet_extproc.decision.choose:choose", "limpet_extproc.request.router:route", *_CALL), "decision"),
        (("limpet_extproc.contract.record:encode", "limpet_extproc.request.router:route", *_CALL), "answer"),
        (("limpet_extproc.contract.record:decode", *_ENTRY), "log_entry"),
        ((f"{OUTCOMES}:stream", *_LOOP), "log_entry"),
        (("limpet_extproc.decision.learn:learned", *_ENTRY), "learning"),
        (
            ("limpet_extproc.decision.bills:usd", "limpet_extproc.envoy.activity_entry:activity_record", *_ENTRY),
            "activity",
        ),
        (("limpet_extproc.process.activity_sender:send", *_LOOP), "activity"),
    ],
)
def test_a_moment_belongs_to_the_innermost_function_that_says_what_is_done(
    stack: tuple[str, ...], stage: Stage
) -> None:
    assert stage_of([Running(*each.split(":")) for each in stack]) == stage


def test_what_tells_stages_apart_is_there() -> None:
    for name in (*MODULES, OUTCOMES):
        import_module(name)
    assert Outcomes.__module__ == OUTCOMES
    assert callable(Outcomes.stream)
    assert {*MODULES.values(), "log_entry", "learning", "other"} == set(STAGES) == set(EXTPROC_PARTS)


def test_a_process_is_seen_at_its_work() -> None:
    sampler = Sampler()
    handler = signal.getsignal(signal.SIGPROF)
    sampler.begin()
    try:
        while not sampler.counts:
            stage_of([Running("somewhere", "work")] * 100)
    finally:
        sampler.end()
        signal.signal(signal.SIGPROF, handler)
    assert set(sampler.counts) == {"other"}


def _planned(upstream_port: int) -> Plan:
    parser = Parser.load()
    parsed: dict[ObjectKey, Any] = {}
    for raw in configuration(upstream_port, rename=False):
        found = parser.parse(raw)
        parsed[found.key] = found
    return plan(Objects(parsed), {}, None)


_GATEWAY = EnvoySettings("127.0.0.1", 10000, ("/run/extproc.sock",))


def test_all_that_is_published_stands_in_one_file_and_of_it_one_part_is_left_out() -> None:
    config = whole(_planned(1234), _GATEWAY, 4321, "/run/admin.sock")
    text = json.dumps(config)
    listener = config["static_resources"]["listeners"][0]
    assert listener["address"]["socket_address"]["port_value"] == 4321
    assert '"ads"' not in text
    assert "key-0" in text
    marks = {
        "extproc": f'"name": "{EXT_PROC_FILTER}"',
        "attempts": f'"name": "{ATTEMPT_FILTER}"',
        "log": '"access_log"',
    }
    for part, without in PARTS.items():
        left = json.dumps(without(config))
        assert {name for name, mark in marks.items() if mark not in left} == {part}
        assert f'"{EXT_PROC_FILTER}"' in left or part == "extproc"
    assert json.dumps(config) == text


@pytest.mark.envoy
async def test_every_envoy_that_is_compared_answers(tmp_path: Path) -> None:
    children, upstream_port = Children(tmp_path), free_port()
    try:
        await start_envoy(children, "upstream", upstream_config(upstream_port), 1, upstream_port)
        async with envoys(children, upstream_port) as ports:
            request = body(0, SIZES["2KB"], MODEL)
            answers = {name: await asyncio.to_thread(ask, chat_url(port), request) for name, port in ports.items()}
    finally:
        await children.stop()
    assert {name: status for name, (status, _) in answers.items()} == dict.fromkeys(("whole", "proxying", *PARTS), 200)
    reasons = {name: headers.get("x-limpet-decision") for name, (_, headers) in answers.items()}
    assert reasons["proxying"] is None
    assert reasons["extproc"] == UNDECIDED != reasons["whole"]


def _round(busy: float, **without: float) -> ProfileRound:
    quiet = {"whole": 300.0, "proxying": 40.0, **without}
    return ProfileRound(100, {name: us * busy for name, us in quiet.items()})


def test_a_part_is_what_the_whole_takes_more_than_all_but_that_part() -> None:
    rounds = [_round(busy, extproc=180.0, attempts=240.0, log=270.0) for busy in (1.0, 1.0, 3.0)]
    found = report(rounds, Sampled(50, 200.0, {"http2": 1, "decision": 3}))
    assert found["envoy_us"] == {
        "whole": 300.0, "proxying": 40.0, "extproc": 120.0, "attempts": 60.0, "log": 30.0, "rest": 50.0
    }  # fmt: skip
    never = {str(stage): 0.0 for stage in STAGES}
    assert found["extproc_us"] == {"whole": 200.0, **never, "http2": 50.0, "decision": 150.0}
    assert (found["samples"], found["rounds"], found["requests"]) == (4, 3, 350)


@pytest.mark.parametrize(("stages", "shown"), [({"http2": 2}, "200.0"), ({}, "–")])
def test_the_tables_have_a_row_for_each_part(stages: Mapping[str, int], shown: str) -> None:
    found = report([_round(1.0, extproc=180.0, attempts=240.0, log=270.0)], Sampled(50, 200.0, stages))
    envoy, extproc = tables(found)
    assert [*envoy.columns[0].cells] == [*ENVOY_PARTS.values(), "all of it"]
    assert [*extproc.columns[0].cells] == [*EXTPROC_PARTS.values(), "all of it"]
    assert next(iter(extproc.columns[1].cells)) == shown
