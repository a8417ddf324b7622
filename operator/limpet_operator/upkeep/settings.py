"""What is to be kept in a mesh, and where."""

from dataclasses import dataclass
from typing import Final

from limpet_operator.mesh.gateway import MeshGateway

SETTLE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class KeptSidecars:
    """Mode sidecar: what the applications' own sidecars are told."""

    namespaces: tuple[str, ...]
    """Of the applications."""
    role: str
    """The Role in each of them by which EnvoyFilters may be written there; it owns them, so they go with it."""
    settle_s: float = SETTLE_S
    """How long sidecars are given for clusters before routes lead to them, and to lose routes before their clusters."""
    workers_port: int = 9443
    credentials_port: int = 18001


@dataclass(frozen=True, slots=True)
class UpkeepSettings:
    """Mode egress: what applications send to the hosts of Providers is brought to the gateway."""

    gateway: MeshGateway
    hosts: tuple[str, ...] = ()
    """Hosts that applications call and that need not exist."""
    whole_cluster: bool = True
    """Look in all namespaces for what others have written for the same hosts; else in the gateway's own alone."""
    lease: tuple[str, str] = ("limpet", "limpet-operator")
    """Namespace and name of the Lease, which is removed with the release: it owns what is written beside it."""
    sidecars: KeptSidecars | None = None
    """What mode sidecar adds; None: mode egress alone is kept."""

    @property
    def app_namespaces(self) -> tuple[str, ...]:
        """Where EnvoyFilters are written."""
        return () if self.sidecars is None else self.sidecars.namespaces

    @property
    def settle_s(self) -> float:
        """As in KeptSidecars."""
        return SETTLE_S if self.sidecars is None else self.sidecars.settle_s
