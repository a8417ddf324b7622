"""`/healthz`, `/readyz` and `/metrics`: what the kubelet and Prometheus ask a pod."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

Answer = Callable[[], str | None]
"""None: yes. Else why not, for people."""


@asynccontextmanager
async def serve_probes(address: str, healthy: Answer, ready: Answer, registry: CollectorRegistry) -> AsyncIterator[int]:
    """Answer on `host:port` inside the block; gives the port, which differs for port 0. Raises OSError."""
    host, _, port = address.rpartition(":")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"content-type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.router.add_get("/healthz", _probe(healthy))
    application.router.add_get("/readyz", _probe(ready))
    application.router.add_get("/metrics", metrics)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _probe(answer: Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def probe(_: web.Request) -> web.Response:
        why_not = answer()
        return web.Response(text=f"{why_not or 'ok'}\n", status=503 if why_not else 200)

    return probe
