"""The source of the data plane's catalogs: a stream from the operator, reopened for as long as the process lives.

An operator that is away, or speaks another contract version, changes nothing: the last catalog stays in force.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never

from limpet_extproc.contract.catalog import (
    WATCH_METHOD,
    Catalog,
    Hello,
    Report,
    Seen,
    decode_catalog,
    encode,
)
from limpet_extproc.operator_link.evidence import EvidenceReporter
from limpet_extproc.operator_link.operator_channel import LONGEST_PAUSE_S, Pauses, one_stream
from limpet_extproc.operator_link.stream_tasks import StreamTasks, writer

_log = logging.getLogger(__name__)


def _ignore(_: object) -> None:
    """For a hook that is not set."""


@dataclass(frozen=True, slots=True)
class StreamHooks:
    """Callbacks for the state of the stream, for metrics and readiness."""

    connected: Callable[[bool], None] = _ignore
    """True at the first catalog of a stream, False when a stream that brought one is lost."""
    lost: Callable[[str], None] = _ignore
    """An attempt or a stream has failed; the text says why, and if versions differ, which side to upgrade."""


async def watch(
    channel_target: str,
    node: str,
    on_catalog: Callable[[Catalog], None],
    hooks: StreamHooks | None = None,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    tls_dir: Path | None = None,
    reporter: EvidenceReporter | None = None,
) -> Never:
    """Hand over every catalog that the operator sends to the Envoy `node`'s data planes, until cancelled.

    `on_catalog` puts the catalog in force before it returns: the operator then gets an acknowledgement, and takes from
    Envoy what the catalog no longer names. `reporter` reports on the providers. `tls_dir` is for `open_channel`.
    Pauses between attempts grow from 0.2 to 2 seconds; an outage is logged once, and again when its reason changes.
    """
    link = _Link(channel_target, on_catalog, hooks or StreamHooks())

    async def talk(call: Any) -> None:
        await _receive(call, node, link.take, reporter)

    while True:
        try:
            why = await one_stream(channel_target, tls_dir, WATCH_METHOD, talk)
        finally:
            link.ended()
        link.lost(why)
        await sleep(link.next_pause_s())


class _Link:
    """The state of the stream from one attempt to the next, and what the log shows of it."""

    def __init__(self, target: str, on_catalog: Callable[[Catalog], None], hooks: StreamHooks) -> None:
        self._target = target
        self._on_catalog = on_catalog
        self._hooks = hooks
        self._connected = False
        self._revision: str | None = None
        self._pauses = Pauses()
        self._last_logged: str | None = None

    def take(self, catalog: Catalog) -> None:
        """Put a catalog in force."""
        self._on_catalog(catalog)
        self._revision = catalog.revision
        if not self._connected:
            self._connected, self._last_logged = True, None
            self._pauses.reset()
            self._hooks.connected(True)
            _log.info("the operator at %s sends catalogs; this is revision %s", self._target, self._revision)

    def ended(self) -> None:
        """The stream, if there was one, brings no more."""
        if self._connected:
            self._connected = False
            self._hooks.connected(False)

    def lost(self, why: str) -> None:
        """Report the failure; the log gets it unless it is the same as the last one."""
        self._hooks.lost(why)
        if self._last_logged == why:
            return
        self._last_logged = why
        have = f"revision {self._revision}" if self._revision else "none, so no request is routed yet"
        _log.warning(
            "no catalogs from the operator at %s: %s. Going on with %s; trying again every %.0f s at most",
            self._target,
            why,
            have,
            LONGEST_PAUSE_S,
        )

    def next_pause_s(self) -> float:
        """Seconds to wait before the next attempt, more each time."""
        return self._pauses.next_s()


async def _receive(call: Any, node: str, take: Callable[[Catalog], None], reporter: EvidenceReporter | None) -> None:
    write = writer(call)

    async def send(report: Report) -> None:
        await write(encode(report))

    await send(Hello(node))
    async with StreamTasks() as tasks:
        if reporter is not None:
            tasks.start(reporter.report(send))
        async for data in call:
            catalog = decode_catalog(data)
            take(catalog)
            await send(Seen(catalog.revision))
