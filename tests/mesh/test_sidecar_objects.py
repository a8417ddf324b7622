"""The objects of mode sidecar in a real istiod: what a sidecar has of them, and that it takes all of it."""

import json
from typing import Any

import pytest
import trustme
from tests.mesh.mesh import Mesh
from tests.mesh.sidecar import Sidecar

from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.mesh.istio_sidecar import SidecarMesh, sidecar_objects
from limpet_operator.mesh.provider_clusters import cluster_name
from limpet_operator.planning.plan import Plan, PlannedProvider
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.publish.publication import settings_for
from limpet_operator.resources.objects import Parser
from limpet_operator.resources.provider import Provider

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

CA = trustme.CA().cert_pem.bytes().decode()


def planned(name: str, url: str, ca_pem: str | None = None, **spec: Any) -> PlannedProvider:
    parsed = Parser.load().parse(
        {
            "apiVersion": "limpet.dev/v1alpha1",
            "kind": "Provider",
            "metadata": {"name": name, "namespace": "team"},
            "spec": {"vendor": "Custom", "url": url, "models": [{"name": "m"}], **spec},
        }
    )
    assert isinstance(parsed, Provider), parsed
    return PlannedProvider(parsed.key.display_name, parsed, None, ca_pem, {}, {})


async def configured(envoy: Sidecar) -> dict[str, list[Any]]:
    """Its clusters and the virtual hosts of its routes."""
    dump = json.loads(await envoy.page("/config_dump"))
    found: dict[str, list[Any]] = {"clusters": [], "hosts": [], "filters": []}
    for part in dump["configs"]:
        found["clusters"] += [each["cluster"] for each in part.get("dynamic_active_clusters", ())]
        found["clusters"] += [each["cluster"] for each in part.get("dynamic_warming_clusters", ())]
        for each in part.get("dynamic_route_configs", ()):
            found["hosts"] += each["route_config"]["virtual_hosts"]
    return found


async def test_a_sidecar_takes_them_and_each_provider_has_its_own_cluster(mesh: Mesh) -> None:
    apps, ours = await mesh.namespace("apps"), await mesh.namespace("limpet")
    gateway = MeshGateway(ours, export_to=(apps,))
    providers = [
        planned("one", "https://same.example/a", CA),
        planned("two", "https://same.example/b", CA),
        planned("plain", "http://plain.example:8000/v1"),
        planned("address", "https://192.0.2.7/v1", CA),
        planned("named", "https://named.example/v1", CA, tls={"serverName": "other.example"}),
    ]
    envoy = settings_for(Plan(providers=tuple(providers)), EnvoySettings("::", 10000, ()))
    written = sidecar_objects(providers, ["llm.internal"], gateway, SidecarMesh((apps,), CA), envoy)
    async with mesh.workload("shop", apps) as shop:
        await mesh.service("limpet-gateway", ours, {"name": "http", "port": 80})
        await mesh.service("limpet-workers", ours, {"name": "grpc", "port": 9443})
        for each in written.objects:
            await mesh.apply(each.body())
        for name in (f"limpet.provider.{cluster_name(each)}" for each in providers):
            await shop.envoy.knows(name)
        await shop.envoy.knows("limpet.forget_own_headers")
        found = await configured(shop.envoy)
        clusters = {each["name"]: each for each in found["clusters"]}
        for provider in providers:
            cluster = clusters[cluster_name(provider)]
            options = cluster["typed_extension_protocol_options"]
            (filters,) = [each["http_filters"] for each in options.values()]
            assert [each["name"] for each in filters][-1] == "envoy.filters.http.upstream_codec"
            assert json.dumps(filters).count(f'"{provider.name}"') >= 1
            tls = cluster.get("transport_socket", {}).get("typed_config", {})
            assert (CA in json.dumps(tls, ensure_ascii=False).replace("\\n", "\n")) == (provider.ca_pem is not None)
        assert clusters[cluster_name(providers[4])]["transport_socket"]["typed_config"]["sni"] == "other.example"
        workers = clusters[f"outbound|9443||{gateway.workers_host}"]
        assert workers["transport_socket"]["typed_config"]["sni"] == gateway.certified_name
        (host,) = [each for each in found["hosts"] if each["name"] == "llm.internal:80"]
        names = [each.get("name") for each in host["routes"]]
        assert {f"limpet.provider.{cluster_name(each)}" for each in providers} == set(names[: len(providers)])
        assert host["routes"][-1]["route"]["cluster"] == f"outbound|80||{gateway.host}"
        assert set(host["typed_per_filter_config"]) >= {"limpet.ext_proc", "limpet.forget_own_headers"}
        assert await shop.envoy.refused() == 0, shop.envoy.program.log_tail()
