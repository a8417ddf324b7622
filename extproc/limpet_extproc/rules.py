"""What a worker decides by: Limpet's own rules over a memory of its own or a shared one; in the lab somebody else's."""

import argparse
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from limpet_extproc import server
from limpet_extproc.health import State
from limpet_extproc.memory import Memory
from limpet_extproc.memory.in_process import InProcessMemory
from limpet_extproc.metrics import Metrics
from limpet_extproc.providers import Providers
from limpet_extproc.snapshot import Snapshot

if TYPE_CHECKING:
    from limpet_extproc.memory.redis import RedisMemory


async def _nothing_to_do() -> None:
    """For a memory in this process."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a worker decides by, and the two things that its outcomes feed."""

    decides: server.Decides
    memory: Memory
    providers: Providers
    start: Callable[[], Awaitable[None]] = _nothing_to_do
    """Called once, in the loop that serves, before the first request."""
    close: Callable[[], Awaitable[None]] = _nothing_to_do
    """Called once, after the last outcome."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a worker gives to the rules it is to run."""

    flags: argparse.Namespace
    secret: bytes
    snapshot: Callable[[], Snapshot]
    metrics: Metrics
    provider_changed: Callable[[str, State], None]


def our_rules(around: Surroundings) -> Rules:
    """Limpet's own."""
    providers = Providers(around.provider_changed)
    coin = partial(Random().randbytes, 8)  # noqa: S311 - it spreads load and keeps no secret

    def decides(memory: Memory) -> server.Limpet:
        return server.Limpet(around.snapshot, memory, providers, around.secret, time.time, coin)

    if around.flags.redis_url:
        shared = _shared_memory(around)
        return Rules(decides(shared), shared, providers, shared.start, shared.close)
    memory = InProcessMemory(around.flags.max_conversations)
    around.metrics.conversations.set_function(lambda: len(memory))
    return Rules(decides(memory), memory, providers)


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
