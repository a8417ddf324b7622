"""/livez, /readyz and /metrics."""

from collections.abc import Callable, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route


def health_routes(trouble: Callable[[], str], registry: CollectorRegistry | None) -> Sequence[BaseRoute]:
    """`trouble` says what keeps records from being taken; empty: nothing does. No /metrics without `registry`."""

    async def live(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def ready(_: Request) -> Response:
        why = trouble()
        return PlainTextResponse(f"{why or 'ok'}\n", 503 if why else 200)

    async def metrics(_: Request) -> Response:
        assert registry is not None
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    probes = [Route("/livez", live), Route("/readyz", ready)]
    return probes if registry is None else [*probes, Route("/metrics", metrics)]
