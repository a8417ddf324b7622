"""What a worker routes by: Limpet's own decisions over its memory and provider states; in the lab, another rule set."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from limpet_extproc.decision.health import State
from limpet_extproc.decision.snapshot import Snapshot
from limpet_extproc.envoy import server
from limpet_extproc.memory import Memory
from limpet_extproc.memory.in_process import InProcessMemory
from limpet_extproc.process.settings import WorkerSettings
from limpet_extproc.providers.siblings import Siblings, ToldProviders, sibling_socket
from limpet_extproc.providers.tracker import Providers
from limpet_extproc.request.reading import Read
from limpet_extproc.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from limpet_extproc.memory.redis import RedisMemory


_Later = Callable[[], Awaitable[None]]


async def _nothing_to_do() -> None:
    """A memory in this process needs neither start nor end."""


@dataclass(frozen=True, slots=True)
class Router:
    """What decides a worker's requests, and the two things that their outcomes feed."""

    decides: server.Decides
    memory: Memory
    providers: Providers
    start: _Later = _nothing_to_do
    """Called once, in the loop that serves, before the first request."""
    close: _Later = _nothing_to_do
    """Called once, after the last outcome."""


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker offers to its router."""

    settings: WorkerSettings
    secret: bytes
    """For conversation keys."""
    read: Read
    snapshot: Callable[[], Snapshot]
    """The catalog in force."""
    metrics: Metrics
    provider_changed: Callable[[str, State], None]
    """To be called when a provider goes out or comes back."""


def sticky_router(context: WorkerContext) -> Router:
    """Limpet's own."""
    providers, siblings = _providers(context)
    memory, start, close = _memory(context)
    coin = partial(Random().randbytes, 8)  # noqa: S311 - it spreads load and keeps no secret
    decides = server.Limpet(context.read, context.snapshot, memory, providers, context.secret, time.time, coin)

    async def start_both() -> None:
        if siblings is not None:
            siblings.start()
        await start()

    async def close_both() -> None:
        await close()
        if siblings is not None:
            siblings.close()

    return Router(decides, memory, providers, start_both, close_both)


def _providers(context: WorkerContext) -> tuple[Providers, Siblings | None]:
    """One of several workers shares what it learns with the others."""
    settings = context.settings
    if settings.siblings == 1 or settings.worker is None:
        return Providers(context.provider_changed), None
    directory = settings.socket.parent
    others = [sibling_socket(directory, number) for number in range(settings.siblings) if number != settings.worker]
    providers = ToldProviders(context.provider_changed, lambda event: siblings.tell(event))
    siblings = Siblings(sibling_socket(directory, settings.worker), others, providers.hear)
    return providers, siblings


def _memory(context: WorkerContext) -> tuple[Memory, _Later, _Later]:
    """The memory, and what to call first and last."""
    if context.settings.redis_url is not None:
        shared = _shared_memory(context, context.settings.redis_url)
        return shared, shared.start, shared.close
    memory = InProcessMemory(context.settings.max_conversations)
    context.metrics.conversations.set_function(lambda: len(memory))
    return memory, _nothing_to_do, _nothing_to_do


def _shared_memory(context: WorkerContext, url: str) -> "RedisMemory":
    # Imported here: a laptop's worker has no use for it and starts a quarter of a second sooner.
    from limpet_extproc.memory.redis import open_memory

    return open_memory(
        url,
        providers=lambda: context.snapshot().providers,
        registry=context.metrics.registry,
        credentials=context.settings.redis_credentials,
        deadline_s=context.settings.redis_deadline_ms / 1000,
    )
