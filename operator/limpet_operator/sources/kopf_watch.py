"""Watches the four kinds with kopf, in its own thread and loop, and delivers the events in the caller's loop.

kopf is used level-triggered: one handler that passes each event on. It leaves nothing in the objects (no finalizer, no
annotation), so every replica may watch and nothing hangs after Limpet is removed. It needs its own loop because at its
end it cancels every task that was created after its start.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, Final

import kopf

from limpet_operator.resources.problem import API_GROUP, API_VERSION, PLURALS
from limpet_operator.sources.kube_reader import Access, bearer_token

_VERSION: Final = API_VERSION.partition("/")[2]
_STOP_S: Final = 5.0
"""How long kopf may take to end; its thread holds nothing that outlives the process."""


class WatchEndedError(Exception):
    """kopf ended unasked; the message says why. Starting it again lists everything again."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """A change of one object. `listed`: a listing found it, which does not show what was deleted."""

    kind: str
    raw: Any
    deleted: bool
    listed: bool


class _WithoutEnd:
    """Seconds between attempts at a request, for ever: an API server that is away comes back eventually."""

    def __iter__(self) -> Iterator[float]:
        return chain((0.2, 0.5, 1.0), repeat(2.0))


class _NothingBefore(kopf.DiffBaseStorage):
    """Our store has the previous state; kopf would copy and hash each object again for every event."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        return None


async def watch(access: Access, namespaces: Sequence[str], deliver: Callable[[WatchEvent], None]) -> None:
    """Deliver every event in this loop until cancelled. No namespaces: all of them. Raises WatchEndedError."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[str] = loop.create_future()
    stop, silenced = threading.Event(), threading.Event()

    def hand_over(event: WatchEvent) -> None:
        # A loop that is closed belongs to a process that is ending.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(lambda: None if silenced.is_set() else deliver(event))

    def end(why: str) -> None:
        if not ended.done():
            ended.set_result(why)

    def run() -> None:
        try:
            asyncio.run(_operator(access, namespaces, hand_over, stop))
            why = "it ended unprompted"
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(end, why)

    threading.Thread(target=run, name="kopf", daemon=True).start()
    try:
        raise WatchEndedError(await asyncio.shield(ended))
    finally:
        silenced.set()
        stop.set()
        await asyncio.wait({ended}, timeout=_STOP_S)


async def _operator(
    access: Access, namespaces: Sequence[str], hand_over: Callable[[WatchEvent], None], stop: threading.Event
) -> None:
    await kopf.operator(
        registry=_registry(access, hand_over),
        settings=_settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
        stop_flag=stop,
    )


def _registry(access: Access, hand_over: Callable[[WatchEvent], None]) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    async def log_in(**_: Any) -> kopf.ConnectionInfo:
        return _connection(await access.configuration())

    async def pass_on(event: Any, resource: Any, **_: Any) -> None:
        hand_over(
            WatchEvent(
                kind=resource.kind,
                raw=event["object"],
                deleted=event["type"] == "DELETED",
                listed=event["type"] is None,
            )
        )

    kopf.on.login(registry=registry)(log_in)
    for plural in PLURALS.values():
        kopf.on.event(API_GROUP, _VERSION, plural, registry=registry)(pass_on)
    return registry


def _connection(configuration: Any) -> kopf.ConnectionInfo:
    return kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert,
        ca_data=configuration.ca_cert_data,
        insecure=not configuration.verify_ssl,
        certificate_path=configuration.cert_file,
        private_key_path=configuration.key_file,
        token=bearer_token(configuration),
        proxy_url=configuration.proxy,
    )


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    # Never written, because no handler here needs it; set, so that no later handler writes kopf's own.
    settings.persistence.finalizer = f"{API_GROUP}/finalizer"
    settings.persistence.diffbase_storage = _NothingBefore()
    settings.persistence.progress_storage = kopf.MultiProgressStorage(())
    settings.posting.enabled = False
    # crd_check looks at CRDs, without rights to list them or namespaces.
    settings.scanning.disabled = True
    settings.watching.server_timeout = 270
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = _WithoutEnd()
    settings.networking.enforce_retry_after = True
    settings.queueing.idle_timeout = 1.0
    settings.queueing.error_delays = (1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 60)
    settings.process.ultimate_exiting_timeout = None  # It would kill the whole process.
    return settings
