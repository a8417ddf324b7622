"""The HTTP server of the service: connections that keep others out, what is no HTTP, and its end."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from tests.waiting import until

from limpet_activity.process.bounded_app import BoundedApp
from limpet_activity.process.health_pages import health_routes
from limpet_activity.process.http_connections import MOST_CONNECTIONS
from limpet_activity.process.web_server import web_server
from limpet_activity.web.guard import HEADERS
from limpet_extproc.contract.host_port import HostPort

ANYWHERE = HostPort("127.0.0.1", 0)


async def asked_beside(halves: int) -> list[int]:
    app = Starlette(routes=list(health_routes(lambda: "", None)))
    async with AsyncExitStack() as stack:
        where = await stack.enter_async_context(web_server(app, ANYWHERE))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{where.port}"))
        for _ in range(halves):
            _, writer = await asyncio.open_connection("127.0.0.1", where.port)
            stack.callback(writer.close)
            writer.write(b"GET /livez HTTP/1.1\r\nHost: loc")
            await writer.drain()
        return [(await client.get("/livez")).status_code for _ in range(3)]


def test_those_that_wait_longest_make_room() -> None:
    assert asyncio.run(asked_beside(MOST_CONNECTIONS + 150)) == [200, 200, 200]


async def said(port: int, data: bytes) -> bytes:
    """All that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    answer = await reader.read()
    writer.close()
    return answer.lower()


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\nnonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/9\r\n\r\n",
        b"GET /" + b"a" * 99_999,
    ],
)
async def test_what_is_no_http_gets_the_headers_of_every_answer(data: bytes) -> None:
    async with web_server(Starlette(), ANYWHERE) as where:
        head, _, body = (await said(where.port, data)).partition(b"\r\n\r\n")
    assert head.startswith(b"http/1.1 400 ")
    for name, value in HEADERS.items():
        assert f"{name}: {value}".encode() in head
    assert b"cache-control: no-store" in head
    assert body


async def test_an_upgrade_is_answered_as_what_it_is() -> None:
    async def plain(_: Request) -> Response:
        return PlainTextResponse("page")

    upgrade = (
        b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n"
        b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
    )
    async with web_server(Starlette(routes=[Route("/", plain)]), ANYWHERE) as where:
        assert (await said(where.port, upgrade)).startswith(b"http/1.1 200 ")


class Held:
    """An application whose answers wait."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()

    async def answer(self, _: Request) -> Response:
        self.asked += 1
        await self.go.wait()
        return PlainTextResponse("done")

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/", self.answer)])


async def answered(ask: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
    return await ask()


async def test_what_is_no_http_behind_a_request_is_the_end_of_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    held = Held()
    head = b"GET / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"
    async with web_server(held.app, ANYWHERE) as where:
        reader, writer = await asyncio.open_connection("127.0.0.1", where.port)
        writer.write(head)
        await until(lambda: held.asked)
        writer.write(b"not a chunk\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        held.go.set()
        writer.close()
    assert not [record for record in caplog.records if record.exc_info]


async def test_an_answer_that_takes_too_long_at_the_end_is_a_sentence_and_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    held = Held()
    async with httpx.AsyncClient() as client:
        async with web_server(held.app, ANYWHERE, grace_s=0) as where:
            asking = asyncio.create_task(answered(lambda: client.get(f"http://127.0.0.1:{where.port}/")))
            await until(lambda: held.asked)
        answer = await asking
    assert (answer.status_code, answer.text) == (503, "The service is stopping; try again.\n")
    assert HEADERS.items() <= dict(answer.headers).items()
    assert not [record for record in caplog.records if record.exc_info]


async def test_an_answer_under_way_at_the_end_is_finished() -> None:
    held = Held()
    async with httpx.AsyncClient() as client:
        async with web_server(held.app, ANYWHERE) as where:
            asking = asyncio.create_task(answered(lambda: client.get(f"http://127.0.0.1:{where.port}/")))
            await until(lambda: held.asked)
            asyncio.get_running_loop().call_later(0.05, held.go.set)
        assert (await asking).text == "done"


async def test_of_too_many_requests_at_once_the_next_is_told() -> None:
    held = Held()
    app = BoundedApp(held.app, 2, HEADERS)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        first = [asyncio.create_task(answered(lambda: client.get("/"))) for _ in range(2)]
        await until(lambda: held.asked == 2)
        refused = await client.get("/")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert HEADERS.items() <= dict(refused.headers).items()
        held.go.set()
        assert [(await each).status_code for each in first] == [200, 200]
        assert (await client.get("/")).status_code == 200


async def test_where_nothing_can_listen_is_an_error() -> None:
    async with web_server(Starlette(), ANYWHERE) as where:
        with pytest.raises(OSError, match="in use"):
            async with web_server(Starlette(), where):
                pass
