"""Istio's objects for the hosts of Providers: which there are, and where they send what."""

from typing import Any

import pytest
from tests.operator.conftest import Build

from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.mesh.istio_egress import egress_objects
from limpet_operator.mesh.istio_object import IstioObject, MeshObjects
from limpet_operator.resources.provider import Provider
from limpet_operator.resources.proxy import Proxy, ProxySettings

GATEWAY = MeshGateway()


class Written:
    """What is written for some Providers, by kind and host."""

    def __init__(self, found: MeshObjects) -> None:
        self.notes = found.notes
        self.objects = found.objects
        self._by_host = {(each.kind, host): each for each in found.objects for host in each.hosts}

    def find(self, kind: str, host: str) -> IstioObject | None:
        return self._by_host.get((kind, host))

    def entry(self, host: str) -> dict[str, Any]:
        return dict(self._by_host["ServiceEntry", host].spec)

    def ports(self, host: str) -> set[tuple[int, str]]:
        return {(port["number"], port["protocol"]) for port in self.entry(host)["ports"]}

    def where(self, host: str, path: str, port: int = 80, *, gateway: bool = False) -> tuple[str, str] | None:
        """Where a request goes by HTTP, and with which path."""
        for route in self._by_host["VirtualService", host].spec["http"]:
            for match in route["match"]:
                begins = match.get("uri", {}).get("prefix", "")
                if match["port"] != port or not path.startswith(begins) or ("sourceLabels" in match and not gateway):
                    continue
                becomes = route.get("rewrite", {}).get("uri", begins)
                return route["route"][0]["destination"]["host"], becomes + path.removeprefix(begins)
        return None


def provider(build: Build, name: str = "deepseek", namespace: str = "default", **spec: Any) -> Provider:
    parsed = build.parser.parse(build.raw("Provider", name, namespace, **spec))
    assert isinstance(parsed, Provider), parsed
    return parsed


def written(*providers: Provider, hosts: tuple[str, ...] = (), gateway: MeshGateway = GATEWAY) -> Written:
    return Written(egress_objects(providers, hosts, gateway))


def test_applications_reach_the_gateway_and_the_gateway_the_host(build: Build) -> None:
    found = written(provider(build))
    assert found.where("api.deepseek.com", "/v1/chat/completions") == (GATEWAY.host, "/v1/chat/completions")
    assert found.where("api.deepseek.com", "/v1/models", gateway=True) == ("api.deepseek.com", "/v1/models")
    assert found.ports("api.deepseek.com") == {(80, "HTTP"), (443, "TLS")}
    assert found.notes == ()


@pytest.mark.parametrize(
    ("vendor", "url", "asked", "arrives"),
    [
        # Vendors' paths are those of their own base URLs.
        ("DeepSeek", "https://api.deepseek.com/v1", "/anthropic/v1/messages", "/v1/messages"),
        ("DeepSeek", "https://api.deepseek.com", "/chat/completions", "/v1/chat/completions"),
        ("DeepSeek", "https://api.deepseek.com", "/v1/chat/completions", "/v1/chat/completions"),
        ("Custom", "https://h.example/a/b", "/a/b/models", "/v1/models"),
        ("Custom", "https://h.example/a/b", "/v1/models", "/v1/models"),
    ],
)
def test_paths_of_the_vendor_become_the_gateways(build: Build, vendor: str, url: str, asked: str, arrives: str) -> None:
    found = written(provider(build, vendor=vendor, url=url))
    host = "api.deepseek.com" if vendor == "DeepSeek" else "h.example"
    assert found.where(host, asked) == (GATEWAY.host, arrives)


def test_two_providers_on_one_host_share_its_objects_and_keep_their_paths(build: Build) -> None:
    a = provider(build, "a", "team-a", vendor="Custom", url="https://h.example/a")
    b = provider(build, "b", "team-b", vendor="Custom", url="https://h.example/a/longer")
    found = written(b, a)
    assert [(each.kind, each.providers) for each in found.objects] == [
        ("ServiceEntry", ("team-a/a", "team-b/b")),
        ("VirtualService", ("team-a/a", "team-b/b")),
    ]
    assert found.where("h.example", "/a/longer/models") == (GATEWAY.host, "/v1/models")
    assert found.where("h.example", "/a/models") == (GATEWAY.host, "/v1/models")


def test_the_order_of_providers_changes_nothing(build: Build) -> None:
    several = [provider(build, name, url=f"https://{name}.example/v1") for name in ("c", "a", "b")]
    assert written(*several).objects == written(*reversed(several)).objects


def test_further_ports_are_known_and_routed(build: Build) -> None:
    found = written(
        provider(build, "a", url="http://h.example:8000/v1"), provider(build, "b", url="https://h.example:8443/v1")
    )
    assert found.ports("h.example") == {(80, "HTTP"), (443, "TLS"), (8000, "HTTP"), (8443, "TLS")}
    assert found.where("h.example", "/v1/models", 8000) == (GATEWAY.host, "/v1/models")
    assert found.where("h.example", "/v1/models", 8000, gateway=True) == ("h.example", "/v1/models")


def test_a_scheme_at_the_other_ones_port_is_what_the_provider_says(build: Build) -> None:
    tls = written(provider(build, url="https://h.example:80/v1"))
    assert tls.ports("h.example") == {(80, "TLS"), (443, "TLS")}
    (note,) = tls.notes
    assert note.startswith("h.example (deepseek) has TLS at port 80: http:// requests of applications are not brought")
    assert written(provider(build, url="http://h.example:443/v1")).ports("h.example") == {(80, "HTTP"), (443, "HTTP")}


def test_tls_of_applications_is_touched_only_where_the_gateway_has_a_certificate(build: Build) -> None:
    plain = written(provider(build)).find("VirtualService", "api.deepseek.com")
    assert plain is not None
    assert "tls" not in plain.spec
    both = written(provider(build), gateway=MeshGateway(tls_port=8443)).find("VirtualService", "api.deepseek.com")
    assert both is not None
    own, applications = both.spec["tls"]
    assert own["match"][0]["sourceLabels"] == GATEWAY.pod_labels
    assert own["match"][0]["sourceNamespace"] == GATEWAY.namespace
    assert own["route"][0]["destination"]["host"] == "api.deepseek.com"
    assert applications["match"] == [{"port": 443, "sniHosts": ["api.deepseek.com"]}]
    assert applications["route"] == [{"destination": {"host": GATEWAY.host, "port": {"number": 8443}}}]


def test_tls_of_applications_stays_where_the_certificate_does_not_hold(build: Build) -> None:
    gateway = MeshGateway(tls_port=443, tls_names=("*.deepseek.com", "llm.internal"))
    providers = (provider(build), provider(build, "b", url="https://b.example/v1"))
    found = written(*providers, hosts=("llm.internal", "other.internal"), gateway=gateway)
    services = {each.spec["hosts"][0]: each.spec for each in found.objects if each.kind == "VirtualService"}
    assert {host for host, spec in services.items() if "tls" in spec} == {"api.deepseek.com", "llm.internal"}
    assert found.ports("other.internal") == {(80, "HTTP")}
    (note,) = found.notes
    assert note.startswith("b.example (b): https:// requests of applications go there as before")


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.1.2.3", "10-1-2-3.address.limpet.internal"),
        ("[fd00::1]", "fd00--1.address.limpet.internal"),
        ("[fd00::]", "fd00--0.address.limpet.internal"),
        ("[::a]", "0--a.address.limpet.internal"),
    ],
)
def test_an_address_gets_a_name_and_its_tls_is_reported(build: Build, address: str, name: str) -> None:
    found = written(provider(build, url=f"https://{address}/v1"), gateway=MeshGateway(tls_port=443))
    assert found.entry(name)["addresses"] == [address.strip("[]")]
    assert found.entry(name)["resolution"] == "STATIC"
    assert found.where(name, "/v1/models") == (GATEWAY.host, "/v1/models")
    service = found.find("VirtualService", name)
    assert service is not None
    assert "tls" not in service.spec
    (note,) = found.notes
    assert note.startswith(f"{address.strip('[]')} (deepseek) is an address: https:// requests")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_it_is_said_of_a_host_that_is_another_for_each_pod(build: Build, host: str) -> None:
    (note,) = (note for note in written(provider(build, url=f"http://{host}:8000/v1")).notes if "address: " not in note)
    assert note.startswith(f"{host.strip('[]')} (deepseek) is the pod itself")


@pytest.mark.parametrize("host", ["vllm", "vllm.limpet.svc", "vllm.limpet.svc.cluster.local"])
def test_a_service_of_the_cluster_is_routed_but_known_already(build: Build, host: str) -> None:
    found = written(provider(build, url=f"http://{host}:8000/v1"))
    assert [each.kind for each in found.objects] == ["VirtualService"]
    whole = "vllm.limpet.svc.cluster.local"
    assert found.where(whole, "/v1/models", 8000) == (GATEWAY.host, "/v1/models")
    assert found.where(whole, "/v1/models", 8000, gateway=True) == (whole, "/v1/models")
    assert found.where(whole, "/v1/models", 80) is None


def test_a_service_of_the_cluster_by_tls_needs_nothing_without_a_certificate(build: Build) -> None:
    assert written(provider(build, url="https://vllm/v1")).objects == ()


def test_a_made_up_host_is_the_gateway(build: Build) -> None:
    found = written(provider(build), hosts=("llm.internal",))
    assert found.where("llm.internal", "/v1/models", gateway=True) == (GATEWAY.host, "/v1/models")
    assert found.entry("llm.internal")["endpoints"] == [{"address": GATEWAY.host, "ports": {"http-80": 80}}]
    secure = written(hosts=("llm.internal",), gateway=MeshGateway(tls_port=8443))
    assert secure.entry("llm.internal")["endpoints"][0]["ports"] == {"http-80": 80, "tls-443": 8443}


def test_a_host_of_a_provider_that_is_named_as_well_is_the_providers(build: Build) -> None:
    assert written(provider(build), hosts=("api.deepseek.com",)).objects == written(provider(build)).objects


@pytest.mark.parametrize(
    ("export_to", "visible"),
    [(("*",), ["*"]), (("app", "*"), ["*"]), (("b", "a", "b"), [".", "a", "b"]), (("limpet",), ["."])],
)
def test_the_gateways_namespace_sees_the_objects_always(
    build: Build, export_to: tuple[str, ...], visible: list[str]
) -> None:
    found = written(provider(build), gateway=MeshGateway(export_to=export_to))
    assert {tuple(each.spec["exportTo"]) for each in found.objects} == {tuple(visible)}


def test_a_proxy_is_known_to_the_gateway_alone(build: Build) -> None:
    through = provider(build, proxy={"url": "http://proxy.corp.example:3128"})
    direct = provider(build, "direct", url="https://b.example/v1", proxy={"url": "direct"})
    settings = ProxySettings(https=Proxy("10.0.0.9", 8080))
    other = provider(build, "other", url="https://c.example/v1")
    found = Written(egress_objects([through, direct, other], (), GATEWAY, settings))
    for host, port, names in (
        ("proxy.corp.example", 3128, ("deepseek",)),
        ("10-0-0-9.address.limpet.internal", 8080, ("other",)),
    ):
        entry = found.find("ServiceEntry", host)
        assert entry is not None
        assert (entry.spec["exportTo"], entry.providers) == (["."], names)
        assert found.ports(host) == {(port, "TCP")}
        assert found.find("VirtualService", host) is None


def test_a_host_that_no_mesh_takes_is_left_out_and_named(build: Build) -> None:
    found = written(provider(build, url="https://my_host.example/v1"), provider(build, "b", url="https://b.example/v1"))
    assert found.find("ServiceEntry", "my_host.example") is None
    assert found.find("ServiceEntry", "b.example") is not None
    assert found.notes == ("my_host.example (deepseek) is not a name that a mesh takes; it is left out",)


def test_names_of_objects_are_names_however_long_the_host_is(build: Build) -> None:
    hosts = [".".join([letter * 60] * 4) for letter in "ab"]
    found = written(*(provider(build, f"p{n}", url=f"https://{host}/v1") for n, host in enumerate(hosts)))
    names = {each.name for each in found.objects}
    assert len(names) == 2
    assert max(map(len, names)) <= 253


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("limpet", "limpet-gateway"),
        ("prod", "prod-limpet-gateway"),
        ("my-limpet", "my-limpet-gateway"),
        ("a" * 39 + "-b", f"{'a' * 39}-gateway"),
    ],
)
def test_the_service_has_the_name_that_the_chart_gives_it(release: str, name: str) -> None:
    assert MeshGateway(release=release).name == name


@pytest.mark.parametrize(
    "host", ["limpet-gateway.limpet.svc", "limpet-workers", "limpet-operator.limpet.svc.cluster.local"]
)
def test_a_provider_does_not_route_limpets_own_services_anew(build: Build, host: str) -> None:
    found = egress_objects([provider(build, url=f"http://{host}/v1/chat")], (), GATEWAY)
    assert found.objects == ()
    assert found.notes == (f"{host} (deepseek) is a name of Limpet's own; it is left out",)
