"""What a worker routes by: Limpet's own decisions over its memory and provider states; in the lab, another rule set."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from limpet_extproc.decision.snapshot import Snapshot
from limpet_extproc.memory import Memory
from limpet_extproc.memory.heads import HeadMemory
from limpet_extproc.memory.in_process import InProcessMemory
from limpet_extproc.memory.in_process_heads import InProcessHeads
from limpet_extproc.memory.in_process_objects import InProcessObjects
from limpet_extproc.memory.objects import ObjectMemory
from limpet_extproc.process.settings import WorkerSettings
from limpet_extproc.providers.events import WorkerEvent
from limpet_extproc.providers.health_states import HealthChange
from limpet_extproc.providers.limit_use import LimitUse
from limpet_extproc.providers.received import Received
from limpet_extproc.providers.siblings import Siblings, sibling_socket
from limpet_extproc.providers.tracker import ProviderTracker
from limpet_extproc.request.debugging import Debugging
from limpet_extproc.request.pins import Pins
from limpet_extproc.request.reading import CheckTranslation, FindReferences, ReadRequest
from limpet_extproc.request.router import Router, StickyRouting
from limpet_extproc.telemetry.metrics import WorkerMetrics

if TYPE_CHECKING:
    from limpet_extproc.memory.redis.redis_memory import RedisMemory


_Running = Callable[[], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class RoutingParts:
    """The router of a worker's requests, and what their outcomes feed."""

    router: Router
    memory: Memory
    heads: HeadMemory
    pins: Pins
    tracker: ProviderTracker
    limit_use: LimitUse
    debugging: Debugging | None = None
    """For clients that ask why; None: they are not told."""
    running: _Running = nullcontext
    """Entered once, in the loop that serves, before the first request, and left after the last outcome."""


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """What a worker offers to its router."""

    settings: WorkerSettings
    secret: bytes
    """For conversation keys."""
    read: ReadRequest
    untranslatable: CheckTranslation
    references: FindReferences
    snapshot: Callable[[], Snapshot]
    """The catalog in force."""
    known: Callable[[str], bool]
    """Whether it has this provider."""
    metrics: WorkerMetrics
    provider_changed: Callable[[HealthChange], None]
    """To be called when a provider, or a model there, goes out or comes back."""
    concern: Callable[[WorkerEvent], None]
    """To be called with what workers beside other Envoys need to know."""
    clock: Callable[[], float]
    """The worker's one clock: Unix time that no jump of the machine's clock reaches."""
    spent_usd: Callable[[str], float] = lambda _client: 0.0
    """What a client has spent today."""


def sticky_routing(context: WorkerContext) -> RoutingParts:
    """Limpet's own."""
    siblings = _siblings(context.settings)
    send = siblings.send if siblings else None
    settings = context.settings
    limit_use = LimitUse(f"{settings.node}/{settings.worker or 0}", context.clock, send)
    tracker = ProviderTracker(
        context.clock,
        context.provider_changed,
        to_siblings=send,
        to_gateways=context.concern,
        used=limit_use.used,
    )
    memory, heads, objects, memory_running = _memory(context)
    pins = Pins(objects, context.secret, context.clock)
    random_seed = partial(Random().randbytes, 8)  # noqa: S311 - it spreads load and keeps no secret
    router = StickyRouting(
        context.read,
        context.snapshot,
        memory,
        heads,
        tracker,
        limit_use,
        pins,
        context.secret,
        context.clock,
        random_seed,
        context.untranslatable,
        context.references,
        held=context.metrics.holds.add,
        spent_usd=context.spent_usd,
    )
    received = Received(tracker.apply_received, limit_use, context.known, context.metrics.failures.inc)

    @asynccontextmanager
    async def running() -> AsyncIterator[None]:
        with ExitStack() as stack:
            if siblings is not None:
                siblings.start(received.take)
                stack.callback(siblings.close)
            async with memory_running():
                yield

    debugging = Debugging(router, context.snapshot, context.clock)
    return RoutingParts(router, memory, heads, pins, tracker, limit_use, debugging, running)


def _siblings(settings: WorkerSettings) -> Siblings | None:
    if settings.siblings == 1 or settings.worker is None:
        return None
    directory = settings.socket.parent
    others = [sibling_socket(directory, number) for number in range(settings.siblings) if number != settings.worker]
    return Siblings(sibling_socket(directory, settings.worker), others)


def _memory(context: WorkerContext) -> tuple[Memory, HeadMemory, ObjectMemory, _Running]:
    if context.settings.redis_url is not None:
        shared = _shared_memory(context, context.settings.redis_url)
        return shared, shared.heads, shared, shared.running
    memory = InProcessMemory(context.settings.max_conversations)
    context.metrics.conversations.set_function(lambda: len(memory))
    return memory, InProcessHeads(), InProcessObjects(context.settings.max_conversations), nullcontext


def _shared_memory(context: WorkerContext, url: str) -> "RedisMemory":
    # Imported here: a laptop's worker has no use for it and starts a quarter of a second sooner.
    from limpet_extproc.memory.redis.redis_memory import open_memory

    return open_memory(
        url,
        providers=lambda: context.snapshot().providers,
        registry=context.metrics.registry,
        credentials=context.settings.redis_credentials,
        deadline_s=context.settings.redis_deadline_ms / 1000,
    )
