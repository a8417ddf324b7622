"""Networks where only a proxy leads out: providers are reached through a tunnel, over TLS end to end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import pytest
import trustme
from tests.envoy.test_tls import ask, https_provider, objects, pem, planned

from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.resources.proxy import Proxy, ProxySettings

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]


class Tunnels:
    """A proxy that takes CONNECT; all names lead to this machine, as if only it could resolve them."""

    def __init__(self, refuses: bytes | None = None) -> None:
        self.asked: list[str] = []
        self.passed = b""
        self._refuses = refuses
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, target, _ = head.split("\r\n")[0].split(" ")
            self.asked.append(f"{method} {target}")
            if self._refuses is not None:
                writer.write(self._refuses)
                writer.close()
                return
            onward, back = await asyncio.open_connection("127.0.0.1", int(target.rpartition(":")[2]))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await asyncio.gather(self._pump(reader, back), self._pump(onward, writer))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            self.passed += data
            sink.write(data)
        sink.close()


@asynccontextmanager
async def gateway(proxies: ProxySettings) -> AsyncIterator[LocalGateway]:
    refused: list[Any] = []
    async with LocalGateway(LocalSettings(port=free_port(), on_nack=refused.append, proxies=proxies)) as local:
        yield local
        assert refused == []


@pytest.mark.parametrize("named", ["127.0.0.1", "localhost"])
async def test_a_provider_whose_name_only_the_proxy_knows_is_reached_by_a_tunnel(named: str) -> None:
    authority, heard = trustme.CA(), list[Any]()
    async with (
        Tunnels() as proxy,
        https_provider(authority, "api.vendor.example", heard) as port,
        gateway(ProxySettings(https=Proxy(named, proxy.port))) as local,
    ):
        local.apply(planned(*objects("good", f"https://api.vendor.example:{port}/api/v1", pem(authority))))
        await local.ready()
        answers = [await ask(local) for _ in range(3)]
    assert {answer.headers["x-limpet-provider"] for answer in answers} == {"good"}
    told = (f"api.vendor.example:{port}", "/api/v1/chat/completions", "Bearer secret", "at-good")
    assert heard == [told] * 3
    assert proxy.asked == [f"CONNECT api.vendor.example:{port}"]
    assert b"secret" not in proxy.passed, "the proxy could read the key"


async def test_a_provider_has_its_own_proxy_or_none() -> None:
    authority, heard = trustme.CA(), list[Any]()
    async with (
        Tunnels() as proxy,
        Tunnels() as other,
        https_provider(authority, "localhost", heard) as near,
        https_provider(authority, "far.example", heard) as far,
        gateway(ProxySettings(https=Proxy("127.0.0.1", proxy.port))) as local,
    ):
        through_other = objects("far", f"https://far.example:{far}/api/v1", pem(authority))
        through_other[0]["spec"]["proxy"] = {"url": f"http://127.0.0.1:{other.port}"}
        direct = objects("near", f"https://localhost:{near}/api/v1", pem(authority))
        direct[0]["spec"]["proxy"] = {"url": "direct"}
        local.apply(planned(*through_other, *direct))
        await local.ready()
        await ask(local, "far")
        assert (len(other.asked), len(proxy.asked), len(heard)) == (1, 0, 1)
        await ask(local, "near")
    assert (len(other.asked), len(proxy.asked), len(heard)) == (1, 0, 2)


@pytest.mark.parametrize(
    "words",
    [b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 403 No\r\n\r\n", b""],
)
async def test_where_the_proxy_refuses_the_next_provider_answers(words: bytes) -> None:
    authority, heard = trustme.CA(), list[Any]()
    async with (
        Tunnels(refuses=words) as proxy,
        https_provider(authority, "localhost", heard) as port,
        gateway(ProxySettings(https=Proxy("127.0.0.1", proxy.port))) as local,
    ):
        far, *others = objects("far", "https://far.example/api/v1", pem(authority))
        near = objects("near", f"https://localhost:{port}/api/v1", pem(authority))
        local.apply(planned(far, *others, *near))
        await local.ready()
        answer = await ask(local, "far", "near")
    assert answer.headers["x-limpet-provider"] == "near"
    assert set(proxy.asked) == {"CONNECT far.example:443"}
