"""What the kubelet and Prometheus are answered."""

import asyncio
import socket
from contextlib import AsyncExitStack, closing, suppress
from http import HTTPStatus

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge

from limpet_extproc.contract.host_port import HostPort
from limpet_operator.pod.pod_http import HttpResponse, HttpRoutes, metrics, probes, serve_http

pytestmark = pytest.mark.slow


async def test_pages_have_reasons_and_metrics() -> None:
    registry = CollectorRegistry()
    Gauge("limpet_test", "A number", registry=registry).set(3)
    why: dict[str, str | None] = {"healthz": None, "readyz": "2 Secrets are still to be read", "remarks": None}
    routes = {**probes(lambda: why["healthz"], lambda: why["readyz"], lambda: why["remarks"]), **metrics(registry)}
    async with (
        serve_http(LOOPBACK, routes) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):

        async def asked(path: str) -> tuple[int, str]:
            answer = await client.get(path)
            return answer.status_code, answer.text

        assert await asked("/healthz") == (200, "ok\n")
        assert await asked("/readyz") == (503, "2 Secrets are still to be read\n")
        why |= {"healthz": "stuck", "readyz": None}
        assert await asked("/healthz") == (503, "stuck\n")
        assert await asked("/readyz") == (200, "ok\n")
        why["remarks"] = "namespace team-b is left out"
        assert await asked("/readyz") == (200, "ok\nnamespace team-b is left out\n")
        why["remarks"] = None
        shown = await client.get("/metrics")
        assert "limpet_test 3.0" in shown.text
        assert shown.headers["content-type"].startswith("text/plain")
        assert await asked("/admin") == (404, "not found; available: /healthz, /readyz, /metrics\n")
        assert await asked("/readyz?now") == (200, "ok\n")
        head = await client.head("/readyz")
        assert (head.status_code, head.text, head.headers["content-length"]) == (200, "", "3")
        assert (await client.post("/healthz")).status_code == 405


def broken() -> HttpResponse:
    raise ValueError("a mistake of ours")


LOOPBACK = HostPort("127.0.0.1", 0)
WELL: HttpRoutes = {"/well": lambda: HttpResponse(HTTPStatus.OK, "text/plain", b"well"), "/broken": broken}


async def test_idle_connections_keep_no_client_out() -> None:
    async with serve_http(LOOPBACK, WELL) as port, AsyncExitStack() as stack:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(200)]
        for _, writer in silent:
            stack.callback(writer.transport.abort)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for _ in range(20):
                assert (await client.get("/well")).text == "well"
        async with asyncio.timeout(60):
            assert {await reader.read() for reader, _ in silent} == {b""}, "none of them may stay"


@pytest.mark.parametrize("words", [b"GET /well HTTP/1.1\r\n" + b"a: b\r\n" * 5000, b"\x16\x03\x01" * 9000])
async def test_a_request_that_is_too_long_is_cut_off(words: bytes) -> None:
    async with serve_http(LOOPBACK, WELL) as port, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(words)
        with closing(writer), suppress(ConnectionResetError):
            assert await reader.read() == b""


async def test_a_mistake_of_ours_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        serve_http(LOOPBACK, WELL) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        assert (await client.get("/broken")).status_code == 500
    assert "/broken failed; please report this" in caplog.text


async def test_all_addresses_of_ipv6_are_those_of_ipv4_too() -> None:
    async with serve_http(HostPort("::", 0), WELL) as port:
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            reader, writer = await asyncio.open_connection(host, port, family=family)
            writer.write(b"GET /well HTTP/1.0\r\n\r\n")
            assert (await reader.read()).endswith(b"\r\n\r\nwell")
            writer.close()
