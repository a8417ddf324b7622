"""The source of the data plane's catalogs: a stream from the operator, reopened for as long as the process lives.

An operator that is away, or speaks another contract version, changes nothing: the last catalog stays in force.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Never, cast

import grpc
import grpc.aio

from limpet_extproc.contract.catalog import (
    WATCH_METHOD,
    Catalog,
    ContractMismatch,
    Hello,
    Report,
    Seen,
    decode_catalog,
    encode,
)
from limpet_extproc.operator_link.evidence import HealthReporter
from limpet_extproc.operator_link.operator_channel import explain, open_channel

_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 2.0

_Send = Callable[[Report], Awaitable[None]]

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
    reporter: HealthReporter | None = None,
) -> Never:
    """Hand over every catalog that the operator sends to the Envoy `node`'s data planes, until cancelled.

    `on_catalog` puts the catalog in force before it returns: the operator then gets an acknowledgement, and takes from
    Envoy what the catalog no longer names. `reporter` reports on the providers. `tls_dir` is for `open_channel`.
    Pauses between attempts grow from 0.2 to 2 seconds; an outage is logged once, and again when its reason changes.
    """
    link = _Link(channel_target, on_catalog, hooks or StreamHooks())
    while True:
        try:
            why = await _stream(channel_target, node, link.take, tls_dir, reporter)
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
        self._pause_s = _FIRST_PAUSE_S
        self._last_logged: str | None = None

    def take(self, catalog: Catalog) -> None:
        """Put a catalog in force."""
        self._on_catalog(catalog)
        self._revision = catalog.revision
        if not self._connected:
            self._connected, self._last_logged, self._pause_s = True, None, _FIRST_PAUSE_S
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
            _LONGEST_PAUSE_S,
        )

    def next_pause_s(self) -> float:
        """Seconds to wait before the next attempt, more each time."""
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, _LONGEST_PAUSE_S)
        return pause_s


async def _stream(
    target: str, node: str, take: Callable[[Catalog], None], tls_dir: Path | None, reporter: HealthReporter | None
) -> str:
    """Hand over the catalogs of one stream until it ends; why it ended."""
    tls = tls_dir is not None
    try:
        # A new channel each time: certificates may have been renewed, and another replica may be running.
        async with open_channel(target, tls_dir) as channel:
            call: Any = cast("Any", channel).stream_stream(WATCH_METHOD)()  # Raw bytes; the stubs insist on coders.
            try:
                await _receive(call, node, take, reporter)
            except asyncio.InvalidStateError:  # Written to after the operator had ended the stream.
                return _reason(await call.code(), await call.details(), tls=tls)
            finally:
                call.cancel()
    except ContractMismatch as error:
        return str(error)
    except grpc.aio.AioRpcError as error:
        return _reason(error.code(), error.details(), tls=tls)
    except OSError as error:
        return f"the certificate files cannot be read: {error}"
    return "the operator ended the stream"


async def _receive(call: Any, node: str, take: Callable[[Catalog], None], reporter: HealthReporter | None) -> None:
    async with _reporting(call, node, reporter) as send:
        async for data in call:
            catalog = decode_catalog(data)
            take(catalog)
            await send(Seen(catalog.revision))


@asynccontextmanager
async def _reporting(call: Any, node: str, reporter: HealthReporter | None) -> AsyncIterator[_Send]:
    """Send a hello, then the reporter's reports; yields the function that sends others in between."""
    one_at_a_time = asyncio.Lock()

    async def send(report: Report) -> None:
        async with one_at_a_time:
            await call.write(encode(report))

    await send(Hello(node))
    reporting = asyncio.create_task(reporter.report(send)) if reporter else None
    try:
        yield send
    finally:
        if reporting is not None:
            reporting.cancel()
            # Gathered: awaiting it with its cancellation suppressed would suppress our own as well.
            (error,) = await asyncio.gather(reporting, return_exceptions=True)
            # The reader of the stream reports why it ended.
            if not isinstance(error, (asyncio.CancelledError, asyncio.InvalidStateError, grpc.aio.AioRpcError)):
                raise error


def _reason(code: grpc.StatusCode, details: str | None, *, tls: bool) -> str:
    return explain(details, tls=tls) if details else code.name
