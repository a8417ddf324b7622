"""What the kubelet and Prometheus are answered."""

import httpx
from prometheus_client import CollectorRegistry, Gauge

from limpet_operator.probes_http import serve_probes


async def test_reasons_are_told_and_metrics_are_shown() -> None:
    registry = CollectorRegistry()
    Gauge("limpet_test", "A number", registry=registry).set(3)
    why: dict[str, str | None] = {"healthz": None, "readyz": "2 Secrets are still to be read"}
    async with (
        serve_probes("127.0.0.1:0", lambda: why["healthz"], lambda: why["readyz"], registry) as port,
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
        metrics = await client.get("/metrics")
        assert "limpet_test 3.0" in metrics.text
        assert metrics.headers["content-type"].startswith("text/plain")
        assert (await client.get("/admin")).status_code == 404
