"""Where the data plane's catalog comes from: one stream to the operator, opened again for as long as the process lives.

An operator that is away, or speaks another contract version, changes nothing: the last catalog goes on deciding.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Never, cast

import grpc
import grpc.aio

from limpet_extproc.contract import WATCH_METHOD, Catalog, ContractMismatch, Hello, Seen, decode_catalog, encode

_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 2.0

_CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.enable_http_proxy", 0),  # The operator is a neighbour; a proxy of the environment is meant for the internet.
    ("grpc.initial_reconnect_backoff_ms", int(_FIRST_PAUSE_S * 1000)),
    ("grpc.min_reconnect_backoff_ms", int(_FIRST_PAUSE_S * 1000)),
    ("grpc.max_reconnect_backoff_ms", int(_LONGEST_PAUSE_S * 1000)),
    ("grpc.keepalive_time_ms", 30_000),  # An operator whose machine died sends no FIN.
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
)

_log = logging.getLogger(__name__)


def _ignore(_: object) -> None:
    """For a hook that nobody listens to."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the stream tells about itself, for metrics and readiness."""

    connected: Callable[[bool], None] = _ignore
    """True at the first catalog of a stream, False when a stream that brought one is lost."""
    mismatch: Callable[[str], None] = _ignore
    """The planes speak different versions; the words say which one to upgrade."""


async def watch(
    channel_target: str,
    node: str,
    on_catalog: Callable[[Catalog], None],
    hooks: Hooks | None = None,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> Never:
    """Hand over every catalog that the operator sends to the Envoy `node`'s data planes, until cancelled.

    `on_catalog` puts the catalog in force before it returns: the operator is then told that it was seen, and takes what
    the catalog no longer names away from Envoy. Pauses between attempts grow from 0.2 to 2 seconds; an outage is logged
    once, and again when its reason changes.
    """
    told = hooks or Hooks()
    pause_s = _FIRST_PAUSE_S
    said: str | None = None
    revision: str | None = None
    async with grpc.aio.insecure_channel(channel_target, options=_CHANNEL_OPTIONS) as channel:
        while True:
            connected = False
            call: Any = cast("Any", channel).stream_stream(WATCH_METHOD)()  # Raw bytes; the stubs insist on coders.
            try:
                await call.write(encode(Hello(node)))
                async for data in call:
                    catalog = decode_catalog(data)
                    on_catalog(catalog)
                    await call.write(encode(Seen(catalog.revision)))
                    revision = catalog.revision
                    if not connected:
                        connected, said, pause_s = True, None, _FIRST_PAUSE_S
                        told.connected(True)
                        _log.info("the operator at %s sends catalogs; this is revision %s", channel_target, revision)
                why = "the operator ended the stream"
            except ContractMismatch as error:
                why = str(error)
                told.mismatch(why)
            except grpc.aio.AioRpcError as error:
                why = _reason(error.code(), error.details(), told)
            except asyncio.InvalidStateError:  # Written to after the operator had ended the stream.
                why = _reason(await call.code(), await call.details(), told)
            finally:
                call.cancel()
                if connected:
                    told.connected(False)
            if said != why:
                said = why
                _log.warning(
                    "no catalogs from the operator at %s: %s. Going on with %s; trying again every %.0f s at most",
                    channel_target, why, f"revision {revision}" if revision else "none, so no request is routed yet",
                    _LONGEST_PAUSE_S,
                )  # fmt: skip
            await sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def _reason(code: grpc.StatusCode, details: str | None, told: Hooks) -> str:
    why = details or code.name
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        told.mismatch(why)
    return why
