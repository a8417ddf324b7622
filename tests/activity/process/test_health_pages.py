"""What a kubelet and Prometheus are told."""

import pytest
from prometheus_client import CollectorRegistry, Gauge
from starlette.applications import Starlette
from starlette.testclient import TestClient

from limpet_activity.process.health_pages import health_routes


def pages(trouble: str = "", registry: CollectorRegistry | None = None) -> TestClient:
    return TestClient(Starlette(routes=list(health_routes(lambda: trouble, registry))))


@pytest.mark.parametrize(
    ("path", "trouble", "status", "text"),
    [
        ("/livez", "", 200, "ok\n"),
        ("/livez", "the database is away", 200, "ok\n"),
        ("/readyz", "", 200, "ok\n"),
        ("/readyz", "the database is away", 503, "the database is away\n"),
        ("/metrics", "", 404, "Not Found"),
    ],
)
def test_probes(path: str, trouble: str, status: int, text: str) -> None:
    answer = pages(trouble).get(path)
    assert (answer.status_code, answer.text) == (status, text)


def test_metrics_are_those_of_the_registry() -> None:
    registry = CollectorRegistry()
    Gauge("limpet_seen", "Seen.", registry=registry).set(3)
    answer = pages(registry=registry).get("/metrics")
    assert "limpet_seen 3.0" in answer.text
    assert answer.headers["content-type"].startswith("text/plain")
