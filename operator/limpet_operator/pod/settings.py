"""The command line of an operator in a pod, as a value."""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from limpet_extproc.contract.client_keys import ClientKeysMode
from limpet_extproc.contract.envoy import PROBE_SOCKET, extproc_socket
from limpet_extproc.contract.host_port import HostPort
from limpet_operator.pod.durations import seconds
from limpet_operator.pod.json_logs import LEVELS
from limpet_operator.pod.mesh_flags import add_mesh_flags, upkeep_settings
from limpet_operator.publish.address_family import LookupFamily
from limpet_operator.publish.bootstrap import CLIENT_SECRET, MESH_SECRET
from limpet_operator.publish.envoy_settings import MIB, EnvoySettings, SidecarAccess
from limpet_operator.publish.origins import origin
from limpet_operator.resources.metadata import LONGEST_NAMESPACE, NAMESPACE
from limpet_operator.resources.proxy import Proxy, ProxySettings, parse_proxy
from limpet_operator.upkeep.settings import UpkeepSettings

_SECRET_NAME: Final = re.compile(r"[a-z0-9]([-.a-z0-9]*[a-z0-9])?")
_LONGEST_NAME: Final = 253
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}")

EXTPROC_DIR: Final = "/run/limpet"
"""Where the workers of every gateway pod listen, as `extproc-N.sock`."""


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """One replica of the operator."""

    namespaces: tuple[str, ...]
    """Namespaces whose objects serve this gateway; none: all."""
    owner: str | None
    """The namespace whose policies hold for the whole gateway; None: there is only one namespace."""
    own_namespace: str
    """The gateway's own, whose Secrets may hold keys of clients."""
    listen: str
    """`host:port` or `unix:/path`, for Envoy, ext_proc and other replicas."""
    tls_dir: Path | None
    """tls.crt, tls.key and ca.crt; None: no TLS, which only loopback and Unix sockets may do without."""
    gateway_name: str | None
    """The DNS name in the certificates of this gateway's Envoys and workers; None: without TLS there are none."""
    http: HostPort
    probes: HostPort | None
    """Another address for /healthz and /readyz, for the kubelet alone."""
    envoy: EnvoySettings
    serving_secret: str | None
    """The Secret of the gateway's own namespace whose certificate clients are shown; None: there is no TLS for them."""
    credentials: HostPort | None
    """Where sidecars of a mesh get the providers' credentials; None: nowhere."""
    drain_s: float
    """From a provider's removal until Envoy loses its cluster."""
    log_level: str
    identity: str
    """This replica's name, as holder of the Lease."""
    lease: tuple[str, str] | None
    """Namespace and name of the Lease; None: this replica writes nothing to Kubernetes."""
    mesh: UpkeepSettings | None
    """What the holder of the Lease keeps in a service mesh; None: nothing."""
    peers: HostPort | None
    """Where the other replicas are found."""
    kubeconfig: Path | None
    """Outside of a cluster; None: the pod's service account, else KUBECONFIG."""


def parse_settings(
    arguments: Sequence[str], environment: Mapping[str, str], dns_lookup_family: LookupFamily = "V4_PREFERRED"
) -> ReplicaSettings:
    """The flags that `--help` documents; ends the process with a message if one is wrong."""
    parser = _parser(environment)
    flags = parser.parse_args(arguments)
    if flags.all_namespaces == bool(flags.namespace):
        parser.error("say which namespaces serve this gateway: --namespace NAME (repeatable) or --all-namespaces")
    if bool(flags.lease_name) != bool(flags.lease_namespace):
        parser.error("--lease-name and --lease-namespace belong together")
    if bool(flags.tls_dir) != bool(flags.gateway_name):
        parser.error(
            "--tls-dir and --gateway-name belong together: a gateway's certificate must carry that DNS name, "
            "as the authority in --tls-dir may have signed others"
        )
    _check_sidecars(parser, flags)
    namespaces = tuple(dict.fromkeys(flags.namespace))
    own = flags.lease_namespace or environment.get("POD_NAMESPACE") or "default"
    return ReplicaSettings(
        namespaces=namespaces,
        owner=None if len(namespaces) == 1 else own,
        own_namespace=own,
        listen=flags.listen,
        tls_dir=flags.tls_dir,
        gateway_name=flags.gateway_name,
        http=flags.http,
        probes=flags.probes,
        envoy=EnvoySettings(
            listen_host=flags.gateway_host,
            client_keys=flags.client_keys,
            debug=flags.debug_header,
            cors_origins=tuple(flags.cors_origin),
            listen_port=flags.gateway_port,
            extproc_sockets=tuple(f"{flags.extproc_dir}/{extproc_socket(number)}" for number in range(flags.workers)),
            probe_socket=f"{flags.extproc_dir}/{PROBE_SOCKET}",
            body_limit_bytes=flags.body_limit_mib * MIB,
            tls_port=flags.gateway_tls_port if flags.gateway_tls_secret else None,
            sidecars=_sidecars(flags),
            tenant_from_workload=flags.tenant_from_workload,
            proxies=ProxySettings(https=flags.proxy, direct=tuple(flags.no_proxy)),
            dns_lookup_family=dns_lookup_family,
        ),
        serving_secret=flags.gateway_tls_secret,
        credentials=flags.credentials,
        drain_s=flags.drain_seconds,
        log_level=flags.log_level,
        identity=flags.identity,
        lease=(flags.lease_namespace, flags.lease_name) if flags.lease_name else None,
        mesh=upkeep_settings(flags, parser),
        peers=flags.peers,
        kubeconfig=flags.kubeconfig,
    )


def _check_sidecars(parser: argparse.ArgumentParser, flags: argparse.Namespace) -> None:
    if bool(flags.sidecar_namespace) != bool(flags.credentials):
        parser.error("--sidecar-namespace and --credentials belong together")
    if flags.credentials and not flags.tls_dir:
        parser.error("--credentials needs --tls-dir: sidecars send their tokens there, and get providers' keys")


def _sidecars(flags: argparse.Namespace) -> SidecarAccess | None:
    if not flags.sidecar_namespace:
        return None
    namespaces = tuple(dict.fromkeys(flags.sidecar_namespace))
    return SidecarAccess(flags.sidecar_port, flags.trust_domain, namespaces, CLIENT_SECRET, MESH_SECRET)


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="limpet-operator", description="Limpet's control plane: Kubernetes objects in, Envoy resources out."
    )
    add = parser.add_argument
    add(
        "--namespace",
        action="append",
        type=_namespace,
        default=[],
        help="namespace whose objects serve this gateway; repeatable",
    )
    add("--all-namespaces", action="store_true", help="objects of every namespace serve this gateway")
    add("--lease-namespace", default="", help="namespace of the Lease that says which replica writes status")
    add("--lease-name", default="", help="name of that Lease; without it nothing is written to Kubernetes")
    add("--identity", default=environment.get("POD_NAME") or os.uname().nodename, help="this replica's name")
    add("--listen", default="127.0.0.1:18000", help="HOST:PORT or unix:PATH for Envoy, ext_proc and other replicas")
    add("--tls-dir", type=Path, default=None, help="directory with tls.crt, tls.key, ca.crt; needed beyond loopback")
    add("--gateway-name", default=None, help="DNS name in the gateways' certificates; goes with --tls-dir")
    add("--peers", type=_host_port, default=None, help="HOST:PORT behind which the other replicas are found")
    add("--http", type=_host_port, default="127.0.0.1:8081", help="HOST:PORT of /healthz, /readyz and /metrics")
    add("--probes", type=_host_port, default=None, help="another HOST:PORT for /healthz and /readyz, for the kubelet")
    add(
        "--cors-origin",
        action="append",
        type=_origin,
        default=[],
        help="origin whose pages may use the gateways from a browser; repeatable",
    )
    add(
        "--client-keys",
        choices=get_args(ClientKeysMode),
        default="Off",
        help="whether clients need a key, from Secrets labelled limpet.dev/client-keys in the operator's own namespace",
    )
    add(
        "--gateway-host", default="::", help="address where Envoy listens for clients; ::, the default, is IPv4 as well"
    )
    add("--gateway-port", type=_port, default=10000, help="where Envoy listens for clients")
    add(
        "--gateway-tls-secret",
        type=_secret_name,
        default=None,
        help="Secret (kubernetes.io/tls) of the Lease's namespace, whose certificate clients of https:// are shown",
    )
    add("--gateway-tls-port", type=_port, default=10443, help="where Envoy listens for them, with that Secret")
    add("--workers", type=_positive, default=1, help="ext_proc workers beside each Envoy")
    add("--debug-header", action="store_true", help="without keys, any client may ask why by x-limpet-debug")
    add(
        "--sidecar-namespace",
        action="append",
        type=_namespace,
        default=[],
        help="namespace whose sidecars of a mesh may ask the workers and get the providers' credentials; repeatable",
    )
    add("--sidecar-port", type=_port, default=9443, help="where each Envoy listens for those sidecars")
    add("--credentials", type=_host_port, default=None, help="HOST:PORT where those sidecars get credentials")
    add("--trust-domain", type=_trust_domain, default="cluster.local", help="the mesh's, in the names of its workloads")
    add(
        "--tenant-from-workload",
        action="store_true",
        help="know a client without a key by the workload that the gateway's own sidecar names",
    )
    add("--extproc-dir", default=EXTPROC_DIR, help="where each Envoy finds its workers: their --socket-dir")
    add("--body-limit-mib", type=_positive, default=32, help="largest request body; a larger one is refused with 413")
    add("--proxy", type=_proxy, default=None, help="http://HOST:PORT through which https:// providers are reached")
    add("--no-proxy", action="append", default=[], help="host, domain or network reached without it; repeatable")
    add_mesh_flags(parser)
    add("--drain-seconds", type=seconds, default=10.0, help="from a provider's removal until Envoy forgets it")
    add("--log-level", choices=LEVELS, default="info")
    add("--kubeconfig", type=Path, default=None, help="outside a cluster; default: the pod's account, else KUBECONFIG")
    return parser


def _proxy(text: str) -> Proxy | None:
    try:
        found = parse_proxy(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return None if found == "direct" else found


def _origin(text: str) -> str:
    try:
        return origin(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _port(text: str) -> int:
    if not (text.isdigit() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"'{text}' is not a port; write a number from 1 to 65535")
    return int(text)


def _host_port(text: str) -> HostPort:
    found = HostPort.parse(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not HOST:PORT")
    return found


def _namespace(text: str) -> str:
    if not (len(text) <= LONGEST_NAMESPACE and NAMESPACE.fullmatch(text)):
        raise argparse.ArgumentTypeError(f"'{text}' is not a namespace; write one name each time, without patterns")
    return text


def _secret_name(text: str) -> str:
    if not (len(text) <= _LONGEST_NAME and _SECRET_NAME.fullmatch(text)):
        raise argparse.ArgumentTypeError(f"'{text}' is not the name of a Secret")
    return text


def _trust_domain(text: str) -> str:
    if not _TRUST_DOMAIN.fullmatch(text):
        raise argparse.ArgumentTypeError(f"'{text}' is not a trust domain, such as cluster.local")
    return text


def _positive(text: str) -> int:
    if not (text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"'{text}' must be at least 1")
    return int(text)
