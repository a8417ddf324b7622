"""One object of Istio's, with what it is for."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from limpet_operator.mesh.gateway import MeshGateway, shortened, text_hash

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
OURS: Final = "limpet"
GATEWAY_LABEL: Final = "limpet.dev/gateway"
STEP_LABEL: Final = "limpet.dev/step"
PROVIDERS_ANNOTATION: Final = "limpet.dev/providers"

ISTIO_GROUP: Final = "networking.istio.io"
_FILTER_VERSION: Final = f"{ISTIO_GROUP}/v1alpha3"
_VERSION: Final = f"{ISTIO_GROUP}/v1"
PLURALS_OF_ISTIO: Final = {
    "ServiceEntry": "serviceentries",
    "VirtualService": "virtualservices",
    "DestinationRule": "destinationrules",
    "EnvoyFilter": "envoyfilters",
    "Gateway": "gateways",
}
"""The kinds that are written, and their plurals in API paths."""

_LONGEST_NAME: Final = 253


@dataclass(frozen=True, slots=True)
class IstioObject:
    """An object of Limpet's in a mesh. Two with the same fields are equal, so what changed is found by comparing."""

    kind: str
    namespace: str
    name: str
    gateway: str
    """The gateway that it was written for, as the value of a label."""
    providers: tuple[str, ...]
    """Names of the Providers that it comes from; none: it is for all."""
    purpose: str
    """One line for people."""
    spec: Mapping[str, Any]
    step: int = 1
    """2: to be applied when sidecars have what is of step 1, and to be removed before it."""

    @property
    def hosts(self) -> tuple[str, ...]:
        """The hosts that it is about."""
        servers = (host for server in self.spec.get("servers", ()) for host in server["hosts"])
        return tuple(dict.fromkeys((*self.spec.get("hosts", ()), *servers)))

    @property
    def key(self) -> tuple[str, str, str]:
        """What names it in a cluster."""
        return self.kind, self.namespace, self.name

    def body(self, version: str | None = None) -> dict[str, Any]:
        """As the API takes it. `version` is that of `api_version`."""
        metadata: dict[str, Any] = {
            "name": self.name,
            "namespace": self.namespace,
            "labels": {MANAGED_BY: OURS, GATEWAY_LABEL: self.gateway},
        }
        if self.step > 1:
            metadata["labels"][STEP_LABEL] = str(self.step)
        if self.providers:
            metadata["annotations"] = {PROVIDERS_ANNOTATION: ", ".join(self.providers)}
        return {
            "apiVersion": api_version(self.kind, version),
            "kind": self.kind,
            "metadata": metadata,
            "spec": self.spec,
        }


def api_version(kind: str, version: str | None = None) -> str:
    """Group and version. `version` replaces `v1` where a mesh is too old for it; EnvoyFilters have one alone."""
    return _FILTER_VERSION if kind == "EnvoyFilter" else f"{ISTIO_GROUP}/{version}" if version else _VERSION


@dataclass(frozen=True, slots=True)
class MeshObjects:
    """What is to be written, in a stable order, and what can't be; a note is a sentence for people."""

    objects: tuple[IstioObject, ...] = ()
    notes: tuple[str, ...] = ()


def istio_object(
    gateway: MeshGateway,
    kind: str,
    about: str,
    purpose: str,
    spec: Mapping[str, Any],
    providers: Iterable[str] = (),
    namespace: str = "",
    step: int = 1,
) -> IstioObject:
    """An object named after the gateway and what it is about: a host, or a Provider."""
    return IstioObject(
        kind=kind,
        namespace=namespace or gateway.namespace,
        name=_name(f"{gateway.name}-{about}"),
        gateway=gateway.label,
        providers=tuple(sorted(providers)),
        purpose=purpose,
        spec=spec,
        step=step,
    )


def _name(text: str) -> str:
    allowed = re.sub(r"[^a-z0-9.-]", "-", text)
    return shortened(allowed if allowed == text else f"{allowed}-{text_hash(text)}", _LONGEST_NAME)
