"""A host that applications call, with all that the Providers there have in common."""

from dataclasses import dataclass
from typing import Final

from limpet_operator.resources.url import is_ip

HTTP_PORT: Final = 80
TLS_PORT: Final = 443


@dataclass(frozen=True, slots=True)
class MeshHost:
    """A host that applications call, with all that the Providers there have in common."""

    name: str
    """As applications write it; an IPv6 address without brackets."""
    providers: tuple[str, ...] = ()
    """Names of the Providers there; none: the host is made up."""
    tls_ports: tuple[int, ...] = (TLS_PORT,)
    http_ports: tuple[int, ...] = (HTTP_PORT,)
    own_tls_ports: tuple[int, ...] = ()
    """Those at which the Providers are."""
    own_http_ports: tuple[int, ...] = ()
    prefixes: tuple[str, ...] = ()
    """What paths begin with at the vendors where those of the gateway begin with /v1, the longest first."""
    service: str | None = None
    """The whole name of the cluster's own Service, if it is one; it is known to the mesh already."""

    @property
    def mesh_name(self) -> str:
        """The name under which the mesh knows it; that of an address is made up."""
        if is_ip(self.name):
            label = self.name.replace(".", "-").replace(":", "-")
            # A label begins and ends with a letter or digit, which `::1` and `fd00::` don't.
            label = f"{'0' * label.startswith('-')}{label}{'0' * label.endswith('-')}"
            return f"{label}.address.limpet.internal"
        return self.service or self.name
