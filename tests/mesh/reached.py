"""Providers that Envoy Gateway's own Envoy reaches: the example's objects, with sellers in the place of its one."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from tests.mesh.envoy_gateway import Json
from tests.mesh.story import TLS, authority_of, host_of

from limpet_lab.sim.config import Certificate
from limpet_lab.sim.sellers import Seller
from limpet_operator.publish.headers import CREDENTIAL_HEADERS

EXAMPLES: Final = Path(__file__).parents[2] / "examples/envoy-gateway"
_HOST: Final = "llm.example"
_PROVIDER: Final = "deepseek"
_PROVIDER_HOST: Final = "api.deepseek.com"


def example(name: str, namespace: str, host: str) -> list[dict[str, Any]]:
    """The objects of an example, for a release in this namespace and for clients that call this host."""
    text = (EXAMPLES / name).read_text()
    for before, after in (
        (", namespace: limpet}", f", namespace: {namespace}}}"),
        (", namespace: limpet,", f", namespace: {namespace},"),
        (".limpet.svc", f".{namespace}.svc"),
        (f"hostnames: [{_HOST}]", f"hostnames: [{host}]"),
    ):
        text = text.replace(before, after)
    return [each for each in yaml.safe_load_all(text) if each]


@dataclass(frozen=True, slots=True)
class Reached:
    """A seller that is reached by a name."""

    name: str
    """Of its Provider."""
    seller: Seller
    host: str

    def rule(self, namespace: str, of_example: Json) -> Json:
        """Its rule of the HTTPRoute."""
        rule = self._named(of_example, namespace)
        rewritten, request, _ = rule["filters"]
        rewritten["urlRewrite"]["path"]["replacePrefixMatch"] = self.seller.config.prefix
        # As the example does it: all headers for keys are removed but the one that the provider's own comes in.
        removed = request["requestHeaderModifier"]["remove"]
        assert {*CREDENTIAL_HEADERS} - {*removed} == {"authorization"}
        own = "" if self.seller.config.credential is None else self.seller.config.credential.header.lower()
        kept = [each for each in removed if each not in CREDENTIAL_HEADERS]
        request["requestHeaderModifier"]["remove"] = [*kept, *sorted({*CREDENTIAL_HEADERS} - {own})]
        if not own:
            del rule["backendRefs"][0]["filters"]
        return rule

    def objects(self, namespace: str, of_example: Sequence[Json]) -> list[Json]:
        """Its Backend, its key, and what puts the key on requests."""
        found = {each["kind"]: self._named(each, namespace) for each in of_example}
        backend, config = found["Backend"], self.seller.config
        backend["spec"]["endpoints"][0]["fqdn"]["port"] = self.seller.port
        written: list[Json] = [backend]
        if config.tls is None:
            del backend["spec"]["tls"]
        else:
            authority = self._authority(namespace, config.tls)
            reference = {"group": "", "kind": "ConfigMap", "name": authority["metadata"]["name"]}
            backend["spec"]["tls"] = {"sni": host_of(TLS), "caCertificateRefs": [reference]}
            written.append(authority)
        if config.credential is not None:
            injection = found["HTTPRouteFilter"]
            injection["spec"]["credentialInjection"]["header"] = config.credential.header
            scheme = "" if config.credential.scheme == "Raw" else f"{config.credential.scheme} "
            value = {"credential": scheme + config.api_keys[0]}
            written += [injection, secret(f"{self.name}-header", namespace, value)]
        return written

    def _named(self, of_example: Json, namespace: str) -> dict[str, Any]:
        text = json.dumps(of_example).replace(_PROVIDER_HOST, self.host).replace(_PROVIDER, self.name)
        named: dict[str, Any] = json.loads(text.replace('"limpet/', f'"{namespace}/'))
        return named

    def _authority(self, namespace: str, certificate: Certificate) -> Json:
        metadata = {"name": f"{self.name}-authority", "namespace": namespace}
        data = {"ca.crt": authority_of(certificate)}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def header_mode_objects(namespace: str, host: str, reached: Sequence[Reached]) -> list[Json]:
    """The example's objects with these providers."""
    written = example("header-mode.yaml", namespace, host)
    shared = [each for each in written if each["metadata"]["name"] != _PROVIDER]
    of_provider = [each for each in written if each["metadata"]["name"] == _PROVIDER]
    (route,) = (each for each in shared if each["kind"] == "HTTPRoute")
    rule, rest = route["spec"]["rules"]
    route["spec"]["rules"] = [*(each.rule(namespace, rule) for each in reached), rest]
    return [*shared, *(own for each in reached for own in each.objects(namespace, of_provider))]


def secret(name: str, namespace: str, data: Mapping[str, str]) -> Json:
    """A Secret of these texts."""
    kind = "kubernetes.io/tls" if "tls.key" in data else "Opaque"
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": metadata, "stringData": data}
