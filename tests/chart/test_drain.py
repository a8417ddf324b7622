"""drain.sh, which Kubernetes runs before it ends an Envoy: against a made-up admin page, and against Envoy itself."""

import asyncio
import json
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from tests.chart.rendered import CHART, container, objects, pod
from tests.waiting import until

from limpet_operator.laptop.machine import envoy_binary, free_port
from limpet_operator.publish.encode import Json, typed

DRAIN = CHART / "files" / "drain.sh"
AT_MOST_S = 60


async def drain(*arguments: object) -> tuple[int, str]:
    """Its status and what it said."""
    process = await asyncio.create_subprocess_exec(
        "/bin/bash", str(DRAIN), *map(str, arguments), stderr=asyncio.subprocess.PIPE
    )
    _, said = await asyncio.wait_for(process.communicate(), AT_MOST_S)
    assert process.returncode is not None
    return process.returncode, said.decode()


@asynccontextmanager
async def admin_page(
    under_way: Iterator[int], asked: list[str], when_s: list[float] | None = None
) -> AsyncIterator[int]:
    """Something that answers as Envoy's admin page does; its port. `when_s` gets the moment of each question."""

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head.splitlines()[0].removesuffix(" HTTP/1.1"))
        if when_s is not None:
            when_s.append(asyncio.get_running_loop().time())
        stats = asked[-1].startswith("GET /stats")
        body = f"http.limpet.downstream_rq_active: {next(under_way)}\n" if stats else "OK\n"
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_it_waits_until_no_request_is_under_way() -> None:
    asked: list[str] = []
    counts = iter([2, 1, 0])
    async with admin_page(counts, asked) as port:
        assert await drain(0, 20, port) == (0, "")
    assert asked[:2] == ["POST /healthcheck/fail", "POST /drain_listeners"]
    assert next(counts, None) is None


async def test_it_takes_connections_until_everybody_had_time_to_learn_of_it() -> None:
    asked: list[str] = []
    when_s: list[float] = []
    async with admin_page(iter([0]), asked, when_s) as port:
        assert await drain(1, 20, port) == (0, "")
    assert asked[:2] == ["POST /healthcheck/fail", "POST /drain_listeners"]
    assert when_s[1] - when_s[0] >= 1


async def test_it_gives_up_in_time_and_says_what_it_leaves_behind() -> None:
    async with admin_page(iter(lambda: 3, None), []) as port:
        status, said = await drain(0, 1, port)
    assert status == 0
    assert "3 requests were still under way after 1 seconds" in said


async def test_an_envoy_that_is_gone_holds_nothing_up() -> None:
    assert await drain(60, 60, free_port()) == (0, "")


def test_kubernetes_gives_it_the_time_it_takes() -> None:
    template = pod(objects({"gateway": {"drainSeconds": 20, "terminationGracePeriodSeconds": 100}}), "limpet-gateway")
    envoy = container(template, "envoy")
    assert envoy["lifecycle"]["preStop"]["exec"]["command"][2:] == ["20", "90"]
    assert template["spec"]["terminationGracePeriodSeconds"] == 100
    assert envoy["args"][envoy["args"].index("--drain-time-s") + 1] == "90"


def envoy_config(port: int, admin_port: int, upstream_port: int) -> Json:
    """Just enough of a gateway: a listener called as ours, and one place to go."""

    def at(port: int) -> Json:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    http = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="limpet",
        route_config={
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "0s"}}],
                }
            ]
        },
        http_filters=[{"name": "envoy.filters.http.router", "typed_config": typed("filters.http.router.v3.Router")}],
    )
    return {
        "admin": {"address": at(admin_port)},
        "static_resources": {
            "listeners": [
                {
                    "name": "limpet",
                    "address": at(port),
                    "filter_chains": [
                        {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": http}]}
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "upstream",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "upstream",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(upstream_port)}}]}],
                    },
                }
            ],
        },
    }


@asynccontextmanager
async def envoy(config: Json, directory: Path) -> AsyncIterator[None]:
    path = directory / "envoy.json"
    path.write_text(json.dumps(config))
    arguments = ("--drain-strategy", "immediate", "--disable-hot-restart", "--concurrency", "1")
    process = await asyncio.create_subprocess_exec(
        str(envoy_binary()), "--config-path", str(path), "--log-level", "error", *arguments
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.mark.envoy
async def test_a_real_envoy_finishes_what_it_has_begun_and_sends_clients_elsewhere(tmp_path: Path) -> None:
    begun, released = asyncio.Event(), asyncio.Event()

    async def upstream(reader: StreamReader, writer: StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/slow" in head:
            begun.set()
            await released.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\ndone")
        await writer.drain()
        writer.close()

    port, admin_port = free_port(), free_port()
    gateway, admin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{admin_port}"
    server = await asyncio.start_server(upstream, "127.0.0.1", 0)
    config = envoy_config(port, admin_port, server.sockets[0].getsockname()[1])

    async with server, envoy(config, tmp_path), httpx.AsyncClient(timeout=AT_MOST_S, trust_env=False) as client:
        await until(lambda: listens(port))
        assert "connection" not in (await client.get(gateway)).headers
        slow = asyncio.create_task(client.get(f"{gateway}/slow"))
        await begun.wait()

        draining = asyncio.create_task(drain(1, 20, admin_port))

        async def says_that_it_leaves() -> bool:
            return (await client.get(f"{admin}/ready")).status_code == 503

        async def refuses() -> bool:
            return not await listens(port)

        await until(says_that_it_leaves)
        answer = await client.get(gateway)
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        await until(refuses)
        assert not draining.done()
        released.set()
        assert (await slow).text == "done"
        assert await draining == (0, "")
