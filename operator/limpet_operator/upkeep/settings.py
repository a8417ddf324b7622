"""What is to be kept in a mesh, and where."""

from dataclasses import dataclass

from limpet_operator.mesh.gateway import MeshGateway


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
