"""The gateway as a mesh knows it: its Service, its pods, and who may see what is written for it."""

import hashlib
from dataclasses import dataclass
from typing import Final

from limpet_operator.resources.serving_certificate import certified

EVERYWHERE: Final = "*"
"""In `export_to`: every namespace of the mesh."""
_LONGEST_PREFIX: Final = 40
_LONGEST_LABEL: Final = 63
_HASH: Final = 8


@dataclass(frozen=True, slots=True)
class EgressGateway:
    """Istio's own gateway at the edge, where a mesh has all go through that leaves it."""

    name: str
    """Of its Service, which has the ports 80 and 443."""
    namespace: str
    label: tuple[str, str] = ("istio", "egressgateway")
    """Of its pods."""


@dataclass(frozen=True, slots=True)
class MeshGateway:
    """Where applications' requests go, and the pods that they must not be taken from again."""

    namespace: str = "limpet"
    release: str = "limpet"
    """The Helm release, of which the chart makes the names."""
    full_name: str | None = None
    """What all of the release's names begin with, where the chart was told to make others; None: by its rule."""
    port: int = 80
    """The Service's port for HTTP."""
    tls_port: int | None = None
    """Its port for TLS, with a certificate for the providers' names that applications trust; None: it has none."""
    tls_names: tuple[str, ...] | None = None
    """The DNS names in that certificate; None: they are not known, and it is taken to hold for all."""
    egress: EgressGateway | None = None
    """Where its own requests to providers leave the mesh; None: by themselves."""
    cluster_domain: str = "cluster.local"
    export_to: tuple[str, ...] = (EVERYWHERE,)
    """Namespaces that see the objects; `*` is all of them. The gateway's own always sees them."""

    def certified_for(self, host: str) -> bool:
        """Whether applications that call `https://` this host take the gateway for it."""
        return self.tls_port is not None and (self.tls_names is None or certified(self.tls_names, host))

    @property
    def name(self) -> str:
        """The Service's name."""
        return f"{self._full_name}-gateway"

    @property
    def _full_name(self) -> str:
        """What all of the release's names begin with."""
        if self.full_name is not None:
            return self.full_name
        full = self.release if "limpet" in self.release else f"{self.release}-limpet"
        return full[:_LONGEST_PREFIX].removesuffix("-")

    @property
    def host(self) -> str:
        """The Service's whole DNS name."""
        return f"{self.name}.{self.namespace}.svc.{self.cluster_domain}"

    @property
    def workers_host(self) -> str:
        """The whole DNS name of the Service through which sidecars ask the workers."""
        return f"{self._full_name}-workers.{self.namespace}.svc.{self.cluster_domain}"

    @property
    def certified_name(self) -> str:
        """The DNS name in the certificates of its pods."""
        return f"{self.name}.{self.namespace}.svc"

    @property
    def operator_host(self) -> str:
        """The DNS name of the operator, which is in its certificate."""
        return f"{self._full_name}-operator.{self.namespace}.svc"

    @property
    def own_hosts(self) -> frozenset[str]:
        """The whole DNS names of Services that are Limpet's own."""
        return frozenset((self.host, self.workers_host, f"{self.operator_host}.{self.cluster_domain}"))

    @property
    def label(self) -> str:
        """What it is called in the label of all that is written for it."""
        return shortened(f"{self.namespace}.{self.name}", _LONGEST_LABEL)

    @property
    def pod_labels(self) -> dict[str, str]:
        """What tells its pods from all others of their namespace."""
        return {"app.kubernetes.io/component": "gateway", "app.kubernetes.io/instance": self.release}

    @property
    def egress_host(self) -> str:
        """The whole DNS name of the gateway at the edge, which there must be."""
        assert self.egress is not None, "there is no egress gateway"
        return f"{self.egress.name}.{self.egress.namespace}.svc.{self.cluster_domain}"

    @property
    def visible_to(self) -> tuple[str, ...]:
        """`export_to` as Istio takes it."""
        if EVERYWHERE in self.export_to:
            return (EVERYWHERE,)
        own = {".", self.namespace}
        further = () if self.egress is None else (self.egress.namespace,)
        return (".", *sorted({name for name in (*self.export_to, *further) if name not in own}))


def shortened(text: str, longest: int) -> str:
    """The same, or its beginning and a hash of all of it."""
    if len(text) <= longest:
        return text
    return f"{text[: longest - _HASH - 1].rstrip('.-')}-{text_hash(text)}"


def text_hash(text: str) -> str:
    """Short, and different for different texts."""
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH]
