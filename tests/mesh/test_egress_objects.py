"""The objects of mode egress in a real istiod: what sidecars make of hosts that are not plain names at port 443."""

import json
from typing import Any

import pytest
from tests.mesh.mesh import Mesh
from tests.mesh.sidecar import Sidecar
from tests.mesh.story import LABELS, SERVICE

from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.mesh.istio_egress import egress_objects
from limpet_operator.resources.objects import Parser
from limpet_operator.resources.provider import Provider

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]


def provider(name: str, url: str) -> Provider:
    spec = {"vendor": "Custom", "url": url, "models": [{"name": "m"}]}
    metadata = {"name": name, "namespace": "team"}
    raw = {"apiVersion": "limpet.dev/v1alpha1", "kind": "Provider", "metadata": metadata, "spec": spec}
    parsed = Parser.load().parse(raw)
    assert isinstance(parsed, Provider), parsed
    return parsed


async def hosts(envoy: Sidecar) -> dict[str, Any]:
    """The virtual hosts of its routes, by name."""
    dump = json.loads(await envoy.page("/config_dump?resource=dynamic_route_configs"))
    return {host["name"]: host for each in dump["configs"] for host in each["route_config"]["virtual_hosts"]}


def leads(host: dict[str, Any], path: str) -> tuple[str, str]:
    """The cluster of a request with this path, and its path there."""
    for route in host["routes"]:
        begins = route["match"].get("prefix", "")
        if path.startswith(begins):
            action = route["route"]
            return action["cluster"], action.get("prefix_rewrite", begins) + path.removeprefix(begins)
    raise AssertionError(f"{host['name']} has no route for {path}")


async def test_sidecars_route_every_kind_of_host_and_the_gateways_own_goes_on(mesh: Mesh) -> None:
    apps, ours = await mesh.namespace("apps"), await mesh.namespace("limpet")
    gateway = MeshGateway(ours, export_to=(apps,))
    providers = [
        provider("a", "https://shared.example/one/v1"),
        provider("b", "https://shared.example/two"),
        provider("c", "http://port.example:8000/v1"),
        provider("d", "http://192.0.2.7:8080/v1"),
    ]
    written = egress_objects(providers, ["llm.internal"], gateway)
    async with mesh.workload("shop", apps) as shop, mesh.workload(SERVICE, ours, labels=LABELS) as pod:
        host = await mesh.service(SERVICE, ours, {"name": "http", "port": 80, "targetPort": 8080}, to=[pod])
        await mesh.apply(*(each.body() for each in written.objects))
        to_gateway = f"outbound|80||{host}"
        for workload in (shop, pod):
            for name in ("shared.example:80", "port.example:8000", "192-0-2-7.address.limpet.internal:8080"):
                await workload.envoy.knows(f'"{name}"')
        found, own = await hosts(shop.envoy), await hosts(pod.envoy)
        shared = found["shared.example:80"]
        assert leads(shared, "/one/v1/chat/completions") == (to_gateway, "/v1/chat/completions")
        assert leads(shared, "/two/models") == (to_gateway, "/v1/models")
        assert leads(shared, "/v1/models") == (to_gateway, "/v1/models")
        assert leads(own["shared.example:80"], "/two/models") == ("outbound|80||shared.example", "/two/models")
        assert leads(found["port.example:8000"], "/v1/models") == (to_gateway, "/v1/models")
        assert leads(own["port.example:8000"], "/v1/models") == ("outbound|8000||port.example", "/v1/models")
        address = found["192-0-2-7.address.limpet.internal:8080"]
        assert any(each.startswith("192.0.2.7") for each in address["domains"])
        assert leads(address, "/v1/models") == (to_gateway, "/v1/models")
        assert leads(found["llm.internal:80"], "/v1/models") == (to_gateway, "/v1/models")
        retried = shared["routes"][-1]["route"]["retry_policy"]["retry_on"]
        assert retried == "connect-failure,refused-stream,reset-before-request"
        for workload in (shop, pod):
            assert await workload.envoy.refused() == 0, workload.envoy.program.log_tail()
