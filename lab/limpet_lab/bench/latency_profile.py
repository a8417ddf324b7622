"""`limpet bench latency --profile`: where the CPU time of a request goes, in Envoy and in the ext_proc worker.

First the worker, under a sampler (`latency_profile_worker`): a gateway as `limpet up` starts it, activity service
included, is loaded by 32 connections with bodies of 12 KB.

Then Envoy. Its program has no symbols, so its parts are told by leaving them out: beside another gateway stand Envoys
with all that this one publishes, with all but one part (`latency_profile_envoy`), and one that only proxies. They share
worker and upstream and take turns of a second, in random order within each round. What else the machine does concerns
all of a round, so a part is the median of the rounds' differences. CPU that another process makes more expensive, by
emptying the caches that Envoy's large program needs, is in all of them: compare parts with `proxying`, not with a run
of another day.

JSON (`--json FILE`), stable; microseconds of CPU by request:

    {"profile": {
        "envoy_us": {"whole",       the published configuration
                     "proxying",    what an Envoy takes that only proxies
                     "extproc",     asking the worker: the call, and what is done with its answer
                     "attempts",    the Lua of every attempt, for the request and for its answer
                     "log",         the access log
                     "rest"},       all other filters, headers and routes; together the parts may be more than the
                                    whole, as each that is left out makes the others a little cheaper
        "extproc_us": {"whole", "http2", "reading", "identity", "decision", "answer", "log_entry", "learning",
                       "activity", "other"},
        "samples", "rounds", "requests"},
     "machine": as without --profile}
"""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

from rich.box import SIMPLE
from rich.table import Table

from limpet_lab.bed import Bed
from limpet_lab.bench.cpu_time import cpu_ns
from limpet_lab.bench.latency_cell import CONNECTIONS
from limpet_lab.bench.latency_load import CONVERSATIONS
from limpet_lab.bench.latency_profile_envoy import PARTS, whole
from limpet_lab.bench.latency_profile_stages import STAGES
from limpet_lab.bench.latency_targets import chat_url, configuration, plain_config, start_envoy, upstream_config
from limpet_lab.bench.latency_wrk import Load, WrkError, run
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.activity import ActivityPlace
from limpet_operator.laptop.children import Children
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.laptop.state import prepared_state
from limpet_operator.resources.objects import Parser

ENVOY_PARTS: Final = {
    "proxying": "taking a request and passing it on",
    "extproc": "asking the worker, and its answer",
    "attempts": "the Lua of every attempt",
    "log": "the access log",
    "rest": "all other filters, headers and routes",
}
EXTPROC_PARTS: Final = {
    "http2": "HTTP/2",
    "reading": "reading the request",
    "identity": "whose conversation it is",
    "decision": "deciding",
    "answer": "the answer to Envoy",
    "log_entry": "reading the log entry",
    "learning": "learning from it",
    "activity": "the record of activity",
    "other": "the event loop, and what belongs to no request",
}

_WHOLE: Final = "whole"
_PROXYING: Final = "proxying"
_ENVOY_THREADS: Final = 2
"""As `limpet up` has them."""
_SLICE_S: Final = 1
_WARM_UP_S: Final = 3
_SAMPLED_S: Final = 20


@dataclass(frozen=True, slots=True)
class ProfileRound:
    """One turn of each Envoy: CPU microseconds a request, `whole`, `proxying` and each of PARTS left out."""

    requests: int
    cpu_us: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Sampled:
    """The worker under load: CPU microseconds a request, and how often it was seen in which stage."""

    requests: int
    cpu_us: float
    stages: Mapping[str, int]


async def profile(wrk: str, folder: Path, bodies: Path, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure both. Raises WrkError, CannotStart or ChildDied."""
    children = Children(folder)
    upstream_port = free_port()
    try:
        await start_envoy(children, "upstream", upstream_config(upstream_port), _ENVOY_THREADS, upstream_port)
        sampled = await _sampled(wrk, folder, bodies, upstream_port)
        say("the worker is done")
        async with envoys(children, upstream_port) as ports:
            taken = await _rounds(wrk, children, ports, bodies, rounds, say)
        return report(taken, sampled)
    finally:
        await children.stop()


@asynccontextmanager
async def envoys(children: Children, upstream_port: int) -> AsyncIterator[Mapping[str, int]]:
    """The Envoys that are compared, started among `children` beside a gateway before this upstream: their ports.

    By name `whole`, `proxying`, and for each of PARTS that without it. Raises CannotStart or ChildDied.
    """
    settings = LocalSettings(port=free_port())
    async with LocalGateway(settings) as gateway:
        plan = Bed(Sellers([]), gateway, Parser.load()).apply(configuration(upstream_port, rename=False))
        await gateway.ready()
        port = free_port()
        await start_envoy(children, _PROXYING, plain_config(port, upstream_port), _ENVOY_THREADS, port)
        ports = {_PROXYING: port}
        for name in (_WHOLE, *PARTS):
            port = free_port()
            config = whole(plan, gateway.envoy, port, str(children.log_dir / f"{name}.sock"))
            await start_envoy(children, name, PARTS[name](config) if name in PARTS else config, _ENVOY_THREADS, port)
            ports[name] = port
        yield ports


async def _sampled(wrk: str, folder: Path, bodies: Path, upstream_port: int) -> Sampled:
    counts = folder / "stages.json"
    settings = LocalSettings(
        port=free_port(),
        extproc_command=(sys.executable, "-m", "limpet_lab.bench.latency_profile_worker", str(counts)),
        activity=ActivityPlace(prepared_state({}, folder), free_port()),
    )
    async with LocalGateway(settings) as gateway:
        Bed(Sellers([]), gateway, Parser.load()).apply(configuration(upstream_port, rename=False))
        await gateway.ready()
        url, pid = chat_url(settings.port), gateway.children.pid("ext_proc")
        await _good(wrk, url, bodies, _WARM_UP_S)
        os.kill(pid, signal.SIGUSR1)
        before = cpu_ns(pid)
        requests = await _good(wrk, url, bodies, _SAMPLED_S)
        cpu_us = (cpu_ns(pid) - before) / 1000 / requests
    return Sampled(requests, cpu_us, json.loads(counts.read_text()))


async def _rounds(
    wrk: str, children: Children, ports: Mapping[str, int], bodies: Path, rounds: int, say: Callable[[str], None]
) -> list[ProfileRound]:
    for port in ports.values():
        await _good(wrk, chat_url(port), bodies, _WARM_UP_S)
    rng, taken = Random(1), list[ProfileRound]()  # noqa: S311 (an order, not a secret)
    for number in range(rounds):
        requests, cpu_us = 0, dict[str, float]()
        for name in rng.sample(list(ports), len(ports)):
            before = cpu_ns(children.pid(name))
            answered = await _good(wrk, chat_url(ports[name]), bodies, _SLICE_S)
            cpu_us[name] = (cpu_ns(children.pid(name)) - before) / 1000 / answered
            requests += answered
        taken.append(ProfileRound(requests, cpu_us))
        say(f"round {number + 1} of {rounds} done")
    return taken


async def _good(wrk: str, url: str, bodies: Path, seconds: int) -> int:
    done = await run(wrk, url, Load(bodies, CONVERSATIONS, CONNECTIONS, seconds))
    if done.failed or not done.requests:
        raise WrkError(f"{done.failed} of {done.requests} requests failed, so the figures mean nothing")
    return done.requests


def report(rounds: Sequence[ProfileRound], sampled: Sampled) -> dict[str, Any]:
    """The figures of these, as JSON has them."""
    envoy_us = {name: median(each.cpu_us[name] for each in rounds) for name in (_WHOLE, _PROXYING)}
    for part in PARTS:
        envoy_us[part] = median(each.cpu_us[_WHOLE] - each.cpu_us[part] for each in rounds)
    envoy_us["rest"] = envoy_us[_WHOLE] - sum(us for name, us in envoy_us.items() if name != _WHOLE)
    samples = sum(sampled.stages.values())
    extproc_us: dict[str, float | None] = {
        _WHOLE: sampled.cpu_us,
        **{stage: sampled.cpu_us * sampled.stages.get(stage, 0) / samples if samples else None for stage in STAGES},
    }
    return {
        "envoy_us": envoy_us,
        "extproc_us": extproc_us,
        "samples": samples,
        "rounds": len(rounds),
        "requests": sampled.requests + sum(each.requests for each in rounds),
    }


def tables(result: Mapping[str, Any]) -> list[Table]:
    """For people: one of Envoy, one of the worker."""
    about = f"CPU µs a request at 12 KB, {CONNECTIONS} connections"
    return [
        _table(f"Envoy: {about}", result["envoy_us"], ENVOY_PARTS, f"medians of {result['rounds']} rounds"),
        _table(f"ext_proc: {about}", result["extproc_us"], EXTPROC_PARTS, f"{result['samples']} samples"),
    ]


def _table(title: str, found: Mapping[str, float | None], words: Mapping[str, str], caption: str) -> Table:
    shown = Table(title=title, box=SIMPLE, caption=caption)
    shown.add_column("")
    for heading in ("µs", "share"):
        shown.add_column(heading, justify="right")
    all_of_it = found[_WHOLE]
    for name, told in {**words, _WHOLE: "all of it"}.items():
        us = found[name]
        figures = ("–", "–") if us is None or not all_of_it else (f"{us:.1f}", f"{100 * us / all_of_it:.0f} %")
        shown.add_row(told, *figures)
    return shown
