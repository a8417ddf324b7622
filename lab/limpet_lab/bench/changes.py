"""How soon a change of the configuration is served: asks a gateway again and again until an answer shows it."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, gcd
from typing import Final

import aiohttp

BAR_MS: Final = 250.0
KINDS: Final = ("changed", "added", "removed")
_LIMIT_S: Final = 30.0
_PAUSE_S: Final = 0.005
"""Between two requests: without a pause they would take the processors from what is measured."""
_STRIDE: Final = 37

Shows = Callable[[int, object], bool]
"""Whether an answer of this status, which names this model, shows the change."""


@dataclass(slots=True)
class ChangeTimes:
    """How long each change took to be served, in milliseconds, and how many requests failed."""

    changed: list[float] = field(default_factory=list)
    added: list[float] = field(default_factory=list)
    removed: list[float] = field(default_factory=list)
    failed_requests: int = 0

    def figures(self) -> dict[str, dict[str, float]]:
        """The percentiles of each kind of change."""
        return {name: percentiles(getattr(self, name)) for name in KINDS}


def percentiles(times_ms: Sequence[float]) -> dict[str, float]:
    """`p50_ms` and `p99_ms`, by nearest rank."""
    ordered = sorted(times_ms)
    return {f"p{p}_ms": round(ordered[ceil(len(ordered) * p / 100) - 1], 1) for p in (50, 99)}


def turn(number: int, things: int, names: tuple[str, str]) -> tuple[int, str]:
    """Which thing is changed in this round, and to which name: of the two the one it has not; all begin with the first.

    Consecutive rounds change things with distant names.
    """
    period = things // gcd(_STRIDE, things)
    return number * _STRIDE % things, names[(number // period + 1) % 2]


async def until_served(client: aiohttp.ClientSession, model: str, shows: Shows, before: int, seen: ChangeTimes) -> None:
    """Return with the first answer that shows the change; any status but the old and the new one is a failed request.

    Raises TimeoutError.
    """
    deadline = time.perf_counter() + _LIMIT_S
    while time.perf_counter() < deadline:
        status, served = await ask(client, model)
        if shows(status, served):
            return
        if status != before:
            seen.failed_requests += 1
        await asyncio.sleep(_PAUSE_S)
    raise TimeoutError(f"the change of {model} was not served within {_LIMIT_S:.0f} s")


async def ask(client: aiohttp.ClientSession, model: str) -> tuple[int, object]:
    """The status of a small request's answer, and the model that it names."""
    body = {"model": model, "messages": [{"role": "user", "content": "which?"}], "max_tokens": 1}
    async with client.post("chat/completions", json=body) as answer:
        return answer.status, (await answer.json()).get("model")
