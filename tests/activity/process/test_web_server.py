"""Connections that send half a request do not keep others out."""

import asyncio
from contextlib import AsyncExitStack

import httpx
from starlette.applications import Starlette

from limpet_activity.process.health_pages import health_routes
from limpet_activity.process.http_connections import MOST_CONNECTIONS
from limpet_activity.process.web_server import web_server
from limpet_extproc.contract.host_port import HostPort


async def asked_beside(halves: int) -> list[int]:
    app = Starlette(routes=list(health_routes(lambda: "", None)))
    async with AsyncExitStack() as stack:
        where = await stack.enter_async_context(web_server(app, HostPort("127.0.0.1", 0)))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://127.0.0.1:{where.port}"))
        for _ in range(halves):
            _, writer = await asyncio.open_connection("127.0.0.1", where.port)
            stack.callback(writer.close)
            writer.write(b"GET /livez HTTP/1.1\r\nHost: loc")
            await writer.drain()
        return [(await client.get("/livez")).status_code for _ in range(3)]


def test_those_that_wait_longest_make_room() -> None:
    assert asyncio.run(asked_beside(MOST_CONNECTIONS + 150)) == [200, 200, 200]
