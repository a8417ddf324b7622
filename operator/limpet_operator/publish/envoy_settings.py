"""What one Envoy is configured with: addresses and limits, and the names that do not depend on any provider."""

from dataclasses import dataclass, field
from typing import Final

from limpet_extproc.contract.client_keys import ClientKeysMode
from limpet_extproc.contract.host_port import HostPort
from limpet_operator.publish.address_family import LookupFamily
from limpet_operator.publish.wait_levels import WaitLevel
from limpet_operator.resources.proxy import ProxySettings

EXTPROC_CLUSTER: Final = "limpet_extproc"
TRANSLATOR_CLUSTER: Final = "limpet_translator"
CONTROLPLANE_CLUSTER: Final = "limpet_controlplane"
"""Names of our own clusters; no Kubernetes object can have one, because of the underscore."""

NEVER_FULL: Final = 1_000_000
"""An open circuit breaker answers 503 without a retry, so none may ever open."""

CLIENT_LISTENER: Final = "limpet"
CLIENT_ROUTES: Final = "limpet"
PROBE_LISTENER: Final = "limpet_healthprobes"
SIDECAR_LISTENER: Final = "limpet_sidecars"
TLS_LISTENER: Final = "limpet_tls"
SERVING_SECRET: Final = "limpet/serving"  # noqa: S105 (the name of one)
"""The SDS name of what clients of `https://` are shown; it has the key, and is for our own Envoys alone."""
FRONT_LUA: Final = "limpet.front"
HEALTH: Final = "envoy.filters.http.health_check"
"""Filters of the client listener that are off except on routes that ask for them."""

VENDOR_HEADERS: Final = "limpet.vendor_headers"
"""The filter that removes headers which vendors send to their own clients."""

UNDECIDED_FILTER: Final = "limpet.undecided"
"""The filter for requests that ext_proc has not decided; routes of all others switch it off."""

EXT_PROC_FILTER: Final = "limpet.ext_proc"
EXT_PROC_WAIT_S: Final = 5
"""How long a request waits for a decision.

A worker that hangs costs a client this wait once: health checks notice before it is over. With less, the most expensive
bodies would not be read in time on a busy machine.
"""

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SidecarAccess:
    """Which sidecars of a mesh may ask the workers of this Envoy, and where."""

    port: int
    trust_domain: str
    """The mesh's, as in `spiffe://cluster.local/ns/default/sa/app`."""
    namespaces: tuple[str, ...]
    """Of the applications."""
    certificate: tuple[str, str]
    """Name and file of Envoy's own certificate, as SDS has it."""
    authority: tuple[str, str]
    """The same of the mesh's authority."""


@dataclass(frozen=True, slots=True)
class EnvoySettings:
    """One Envoy: where it listens, where its ext_proc workers are, and how much it will hold in memory."""

    listen_host: str
    listen_port: int
    extproc_sockets: tuple[str, ...]
    """Unix socket of each ext_proc worker."""
    tls_port: int | None = None
    """Where it listens for `https://` while there is a certificate to show; None: nowhere."""
    probe_socket: str | None = None
    """Unix socket on which it takes probes; None: it takes none."""
    sidecars: SidecarAccess | None = None
    """None: there are none."""
    header_mode: bool = False
    """True: the header `x-limpet-cluster` chooses the cluster, for Envoys without the priority-group specifier."""
    identity_headers: tuple[str, ...] = ()
    """Headers in which policies look for the name of a conversation, besides those that every gateway reads."""
    kept_headers: tuple[str, ...] = ()
    """Headers that not every attempt sends alike, so a later one needs the client's values."""
    client_keys: ClientKeysMode = "Off"
    """Whether clients need a key."""
    tenant_from_workload: bool = False
    """Whether a client without a key is known by its workload, in a mesh whose sidecar stands before this Envoy."""
    debug: bool = False
    """Whether any client may ask why its requests go where they go, where keys are not looked at."""
    own_names: tuple[str, ...] = ()
    """Hosts a client may use for this gateway, without ports; empty: any."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may use this gateway from a browser, as `origins.pattern` reads them."""
    listen_also: tuple[str, ...] = ()
    """Further addresses for the same port."""
    shares_port: bool = True
    """Each thread has a socket of its own, and other processes of the same user could have more. False: all threads
    have one, and where another process listens already, this listener fails."""
    body_limit_bytes: int = 32 * MIB
    """A larger request is refused with 413; the same limit bounds what a retry can send again."""
    proxies: ProxySettings = field(default_factory=ProxySettings)
    """How to reach providers that name no proxy."""
    max_attempts: int = 3
    """The most providers any policy lets one request try."""
    wait_levels: tuple[WaitLevel, ...] = (WaitLevel(),)
    """Levels of how long a streamed answer may be silent, in rising order."""
    longest_unstreamed_s: float = 600.0
    """The longest that any provider may take for a whole answer."""
    timeouts_move_on: bool = False
    """Whether some policy tries another provider after a timeout."""
    dns_lookup_family: LookupFamily = "V4_PREFERRED"
    """Which addresses of a provider's name are used."""
    system_ca_file: str = "/etc/ssl/certs/ca-certificates.crt"
    dns_servers: tuple[HostPort, ...] = ()
    """Name servers that providers' names are asked of, each by its address; empty: those of the machine."""

    @property
    def keys_required(self) -> bool:
        """Whether nothing is served without a worker that has checked the client's key."""
        return self.client_keys == "Required"
