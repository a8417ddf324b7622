"""What a worker decides by: Limpet's own rules over a memory of its own or a shared one; in the lab somebody else's."""

import argparse
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from limpet_extproc.decision.health import State
from limpet_extproc.decision.snapshot import Snapshot
from limpet_extproc.envoy import server
from limpet_extproc.memory import Memory
from limpet_extproc.memory.in_process import InProcessMemory
from limpet_extproc.providers.siblings import Siblings, ToldProviders, sibling_socket
from limpet_extproc.providers.tracker import Providers
from limpet_extproc.request.reading import Read
from limpet_extproc.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from limpet_extproc.memory.redis import RedisMemory


_Later = Callable[[], Awaitable[None]]


async def _nothing_to_do() -> None:
    """For a memory in this process."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a worker decides by, and the two things that its outcomes feed."""

    decides: server.Decides
    memory: Memory
    providers: Providers
    start: _Later = _nothing_to_do
    """Called once, in the loop that serves, before the first request."""
    close: _Later = _nothing_to_do
    """Called once, after the last outcome."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a worker gives to the rules it is to run."""

    flags: argparse.Namespace
    secret: bytes
    read: Read
    snapshot: Callable[[], Snapshot]
    metrics: Metrics
    provider_changed: Callable[[str, State], None]


def our_rules(around: Surroundings) -> Rules:
    """Limpet's own."""
    providers, siblings = _providers(around)
    memory, start, close = _memory(around)
    coin = partial(Random().randbytes, 8)  # noqa: S311 - it spreads load and keeps no secret
    decides = server.Limpet(around.read, around.snapshot, memory, providers, around.secret, time.time, coin)

    async def start_both() -> None:
        if siblings is not None:
            siblings.start()
        await start()

    async def close_both() -> None:
        await close()
        if siblings is not None:
            siblings.close()

    return Rules(decides, memory, providers, start_both, close_both)


def _providers(around: Surroundings) -> tuple[Providers, Siblings | None]:
    """A worker among several tells the others what it learns."""
    flags = around.flags
    if flags.siblings == 1:
        return Providers(around.provider_changed), None
    directory = Path(flags.socket).parent
    others = [sibling_socket(directory, number) for number in range(flags.siblings) if number != flags.worker]
    providers = ToldProviders(around.provider_changed, lambda event: siblings.tell(event))
    siblings = Siblings(sibling_socket(directory, flags.worker), others, providers.hear)
    return providers, siblings


def _memory(around: Surroundings) -> tuple[Memory, _Later, _Later]:
    """The memory, and what to do with it first and last."""
    if around.flags.redis_url:
        shared = _shared_memory(around)
        return shared, shared.start, shared.close
    memory = InProcessMemory(around.flags.max_conversations)
    around.metrics.conversations.set_function(lambda: len(memory))
    return memory, _nothing_to_do, _nothing_to_do


def _shared_memory(around: Surroundings) -> "RedisMemory":
    # Imported here: a laptop's worker has no use for it and starts a quarter of a second sooner.
    from limpet_extproc.memory.redis import open_memory

    flags = around.flags
    return open_memory(
        flags.redis_url,
        providers=lambda: around.snapshot().providers,
        registry=around.metrics.registry,
        credentials=Path(flags.redis_credentials) if flags.redis_credentials else None,
        deadline_s=flags.redis_deadline_ms / 1000,
    )
