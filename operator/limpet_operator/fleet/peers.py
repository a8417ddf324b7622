"""Replicas of the operator find each other by DNS and report to each other what their Envoys and workers report.

Each replica opens a stream to every address of a headless Service and accepts the streams of the others, so two
replicas mostly have two: whichever of them finds the other first, both are connected at once. The messages are
`limpet_operator.fleet.peer_contract`, when each is sent is decided by `limpet_operator.fleet.link`.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any, Final, Never, cast

import grpc
import grpc.aio

from limpet_extproc.contract.client_options import CLIENT_OPTIONS
from limpet_extproc.contract.host_port import HostPort
from limpet_operator.fleet.fleet import Fleet
from limpet_operator.fleet.link import PeerLink
from limpet_operator.fleet.peer_contract import PEER_METHOD, PeerHello, PeerMessage, PeerMismatch, decode, encode
from limpet_operator.serve.outbox import MAX_UNSENT
from limpet_operator.serve.tasks import OpenStreams, beside
from limpet_operator.serve.tls import TlsUnusableError, read_certificates

RESOLVE_EVERY_S: Final = 2.0
"""The others dial us, too, so this is only how long a replica that cannot reach us stays unknown."""
_REDIAL_S: Final = 1.0

Resolve = Callable[[], Awaitable[Collection[str]]]
"""The current gRPC addresses of all replicas, including our own. Raises OSError."""
Dial = Callable[[str], grpc.aio.Channel]
"""A channel to one of these addresses. Raises OSError and TlsUnusableError."""

_EOF: Final = cast("Any", grpc.aio).EOF  # The stubs lack it.
_LOST: Final = (asyncio.InvalidStateError, grpc.RpcError, grpc.aio.BaseError)
"""What reading from and writing to a stream raises once it has ended, at either end of it."""

_log = logging.getLogger(__name__)


def resolver(target: HostPort) -> Resolve:
    """All addresses that DNS has for the target's host at the moment, with its port."""

    async def resolve() -> Collection[str]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        return {str(HostPort(str(sockaddr[0]), target.port)) for *_, sockaddr in found}

    return resolve


def dialer(host: str, tls_dir: Path | None) -> Dial:
    """Dials addresses of `host`; with `tls_dir` both sides show certificates, the other's for that host.

    The files are read again for each connection.
    """

    def dial(address: str) -> grpc.aio.Channel:
        if tls_dir is None:
            return grpc.aio.insecure_channel(address, options=CLIENT_OPTIONS)
        own = read_certificates(tls_dir)
        credentials = grpc.ssl_channel_credentials(own.authority, own.key, own.chain)
        named = (("grpc.ssl_target_name_override", host), ("grpc.default_authority", host))
        return grpc.aio.secure_channel(address, credentials, options=(*CLIENT_OPTIONS, *named))

    return dial


class Peers:
    """Keeps the links of a fleet. All methods belong to the event loop that serves."""

    def __init__(self, fleet: Fleet, instance: str) -> None:
        """`instance` names this process and no other, not even an earlier one of the same pod."""
        self._fleet = fleet
        self._instance = instance
        self._open = OpenStreams()

    def handler(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """The service for `limpet_operator.serve.grpc_server.serve`."""
        service, _, method = PEER_METHOD.strip("/").partition("/")
        return grpc.method_handlers_generic_handler(
            service, {method: grpc.stream_stream_rpc_method_handler(self._accept)}
        )

    def close(self) -> None:
        """End the streams that peers opened; for just before the server's `stop(grace)`."""
        self._open.close()

    async def run(
        self, resolve: Resolve, dial: Dial, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> Never:
        """Keep a stream to every replica that `resolve` finds, until cancelled."""
        calls: dict[str, asyncio.Task[None]] = {}
        addresses: set[str] = set()
        last_logged: str | None = None
        try:
            while True:
                try:
                    # In place: calls look at it. An open stream goes on, but is opened again only to a current address.
                    found = set(await resolve())
                    addresses &= found
                    addresses |= found
                    last_logged = None
                except OSError as error:
                    if last_logged != str(error):
                        last_logged = str(error)
                        _log.warning(
                            "the other replicas cannot be looked up: %s. Going on with %d", error, len(addresses)
                        )
                for address in addresses - calls.keys():
                    calls[address] = asyncio.create_task(self._keep_calling(address, addresses, dial, sleep))
                for address in [each for each in calls if calls[each].done()]:
                    calls[address].result()
                    if address not in addresses:
                        del calls[address]
                await sleep(RESOLVE_EVERY_S)
        finally:
            for call in calls.values():
                call.cancel()
            await asyncio.gather(*calls.values(), return_exceptions=True)

    async def _keep_calling(
        self, address: str, addresses: Collection[str], dial: Dial, sleep: Callable[[float], Awaitable[object]]
    ) -> None:
        """One stream after another, as long as the address is a current one and not our own."""
        last_logged: str | None = None
        while address in addresses:
            try:
                async with dial(address) as channel:
                    call: Any = cast("Any", channel).stream_stream(
                        PEER_METHOD
                    )()  # Raw bytes; the stubs insist on coders.
                    try:
                        await self._exchange(call, address)
                        why, last_logged = "it ended the stream", None
                    except asyncio.InvalidStateError:  # Written to after the other side had ended the stream.
                        why = await call.details() or "it ended the stream"
                    finally:
                        call.cancel()
            except _OurselvesError:
                return
            except grpc.aio.AioRpcError as error:
                why = error.details() or error.code().name
            except (PeerMismatch, TlsUnusableError, OSError) as error:
                why = str(error)
            if last_logged != why:
                last_logged = why
                _log.info("no stream to the replica at %s: %s", address, why)
            await sleep(_REDIAL_S)

    async def _accept(self, _: object, context: Any) -> None:
        """Handle a stream that a peer opened."""
        try:
            async with self._open.beside(self._exchange(context, context.peer()), *_LOST, _OurselvesError) as exchange:
                await asyncio.wait({exchange})
        except PeerMismatch as error:
            _log.warning("refused a replica: %s", error)
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))

    async def _exchange(self, stream: Any, address: str) -> None:
        """Messages both ways until the stream ends. Raises PeerMismatch, _OurselvesError, and what gRPC raises."""
        await stream.write(encode(PeerHello(self._instance)))
        if (data := await stream.read()) is _EOF:
            return
        peer = decode(data)
        if not isinstance(peer, PeerHello):
            raise PeerMismatch("a replica's first message must be PeerHello: run the same Limpet version everywhere")
        if peer.instance == self._instance:
            raise _OurselvesError
        link, wake = PeerLink(peer.instance), asyncio.Event()
        self._fleet.join(link, wake.set)
        _log.info("connected with replica %s at %s", peer.instance, address)
        async with beside(self._send(stream, link, wake), *_LOST):
            try:
                while (data := await stream.read()) is not _EOF:
                    message = decode(data)
                    if isinstance(message, PeerHello):
                        raise PeerMismatch("a replica sends PeerHello once, at the start of its stream")
                    self._fleet.receive(link, message)
            finally:
                self._fleet.leave(link)

    async def _send(self, stream: Any, link: PeerLink, wake: asyncio.Event) -> Never:
        while True:
            wake.clear()
            messages: tuple[PeerMessage | None, ...] = (link.next_update(self._fleet.own), self._fleet.ack_for(link))
            for message in messages:
                if message is not None:
                    await stream.write(encode(message))
            for _ in range(MAX_UNSENT):  # More would have come since, and updates have their turn before them.
                if (health := link.health.next()) is None:
                    break
                await stream.write(encode(health))
            await wake.wait()


class _OurselvesError(Exception):
    """Both ends of the stream are this process."""
