"""Clients in a pod: only their sockets are the pod's, so they run in the loop of the test like any others."""

import asyncio
import contextlib
import ctypes
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import aiohttp
import httpcore2
import httpx2
from anyio.abc import SocketStream
from httpcore2._backends.anyio import AnyIOStream
from tests.cluster.dialing import client_that_dials
from tests.cluster.pods import Pod

_CLONE_NEWNET: Final = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def network_of(pod: Pod) -> Iterator[None]:
    """Have this thread in the pod's network until the end of the block, and so are the processes it starts."""
    # Not /proc/self, which is the process's first thread, whatever thread asks.
    own, theirs = (os.open(path, os.O_RDONLY) for path in ("/proc/thread-self/ns/net", f"/run/netns/{pod.name}"))
    try:
        _enter(theirs)
        try:
            yield
        finally:
            _enter(own)
    finally:
        os.close(own)
        os.close(theirs)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def socket_in(pod: Pod, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> socket.socket:
    """A socket of the pod, wherever it is used: it stays in the network that it was made in."""
    made: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            with network_of(pod):
                made.append(socket.socket(family, kind))
        except OSError as error:
            made.append(error)

    thread = threading.Thread(target=make, name=f"socket in {pod.name}")
    thread.start()
    thread.join()
    if isinstance(made[0], OSError):
        raise made[0]
    made[0].setblocking(False)
    return made[0]


def sdk_client(pod: Pod, timeout_s: float, trusted: ssl.SSLContext | None = None) -> httpx2.AsyncClient:
    """What the official SDKs take as `http_client`, for an application in the pod; `trusted` is for `https://`."""

    async def dial(host: str, port: int, within_s: float | None) -> httpcore2.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        made = socket_in(pod)
        try:
            async with asyncio.timeout(within_s):
                found = await loop.getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_STREAM)
                await loop.sock_connect(made, found[0][4])
            return AnyIOStream(await SocketStream.from_socket(made))
        except (OSError, TimeoutError) as error:
            made.close()
            raise httpcore2.ConnectError(f"{host}:{port}: {error!r}") from error

    return client_that_dials(dial, timeout_s, trusted)


def http_session(pod_of: Callable[[str], Pod | None], timeout_s: float) -> aiohttp.ClientSession:
    """A session whose connections begin in the pod that `pod_of` names for an IP address; None: where the test is."""

    def connect(info: Any) -> socket.socket:
        family, kind, protocol, _, address = info
        pod = pod_of(address[0])
        return socket.socket(family, kind, protocol) if pod is None else socket_in(pod, family, kind)

    connector = aiohttp.TCPConnector(family=socket.AF_INET, socket_factory=connect)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=timeout_s))
