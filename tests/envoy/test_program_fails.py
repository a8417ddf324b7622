"""The program that every attempt runs fails closed: what it could not rewrite is not sent."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.envoy.test_tls import planned
from tests.envoy.upstream import Upstream
from tests.waiting import until

from limpet_operator.laptop.machine import envoy_binary, free_port
from limpet_operator.publish.attempt_filters import attempt_program
from limpet_operator.publish.cluster import provider_cluster
from limpet_operator.publish.encode import typed
from limpet_operator.publish.envoy_settings import EnvoySettings

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]


def _bootstrap(port: int, cluster: dict[str, Any]) -> dict[str, Any]:
    """A listener that notes nothing of the request, which no gateway of ours has: the program can't work there."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": cluster["name"]}}
    manager = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="test",
        route_config={
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}],
            "typed_per_filter_config": attempt_program(),
        },
        http_filters=[{"name": "router", "typed_config": typed("filters.http.router.v3.Router")}],
    )
    listener = {
        "name": "test",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


async def test_what_the_program_could_not_rewrite_is_not_sent(tmp_path: Path) -> None:
    port = free_port()
    async with Upstream() as upstream:
        spec = {"vendor": "Custom", "url": upstream.url, "models": [{"name": "m"}]}
        written = {"apiVersion": "limpet.dev/v1alpha1", "kind": "Provider", "metadata": {"name": "a"}, "spec": spec}
        (provider,) = planned(written).providers
        cluster = provider_cluster(provider, EnvoySettings("127.0.0.1", port, ()))
        path = tmp_path / "envoy.json"
        path.write_text(json.dumps(_bootstrap(port, cluster)))
        envoy = await asyncio.create_subprocess_exec(
            envoy_binary(), "--config-path", path, "--disable-hot-restart", "--log-level", "off"
        )
        try:
            async with aiohttp.ClientSession() as client:

                async def answered() -> bool:
                    try:
                        async with client.post(f"http://127.0.0.1:{port}/v1/chat/completions", data=b"{}") as response:
                            return response.status == 500
                    except OSError:
                        return False

                await until(answered, "an answer")
        finally:
            envoy.terminate()
            await envoy.wait()
        assert upstream.got == []
