"""The operator's flags about a service mesh."""

import argparse

from limpet_operator.mesh.gateway import EVERYWHERE, MeshGateway
from limpet_operator.mesh.hosts import parse_host
from limpet_operator.pod.durations import seconds
from limpet_operator.resources.metadata import LONGEST_NAMESPACE, NAMESPACE, is_object_name
from limpet_operator.upkeep.settings import SETTLE_S, KeptSidecars, UpkeepSettings


def add_mesh_flags(parser: argparse.ArgumentParser) -> None:
    """Those that begin with `--istio`."""
    add = parser.add_argument
    add(
        "--istio",
        choices=("off", "egress", "sidecar"),
        default="off",
        help="keep Istio's objects that bring applications' requests for the Providers' hosts to the gateway, or have "
        "the applications' own sidecars ask its workers",
    )
    add("--istio-release", type=_name, default="limpet", help="Helm release of the gateway, a label of its pods")
    add(
        "--istio-full-name",
        type=_name,
        default=None,
        help="what the release's names begin with; default: as the chart does",
    )
    add("--istio-role", type=_role, default=None, help="sidecar: the Role by which EnvoyFilters may be written")
    add(
        "--istio-settle-seconds",
        type=seconds,
        default=SETTLE_S,
        help="sidecar: between clusters and the routes that lead there, and back",
    )
    add("--istio-gateway-port", type=int, default=80, help="its port for http://")
    add("--istio-gateway-tls-port", type=int, default=None, help="its port for https://; default: it has none")
    add(
        "--istio-host",
        type=_host,
        action="append",
        default=[],
        help="host that need not exist: llm.internal; repeatable",
    )
    add(
        "--istio-export-to",
        type=_export,
        action="append",
        default=[],
        help="namespace whose requests are meant; default: all; repeatable",
    )
    add("--istio-cluster-domain", default="cluster.local", help="domain of the cluster's Services")
    add(
        "--istio-own-namespace-only",
        action="store_true",
        help="look for others' objects for the same hosts in the gateway's namespace alone",
    )


def upkeep_settings(flags: argparse.Namespace, parser: argparse.ArgumentParser) -> UpkeepSettings | None:
    """What these flags say; None: there is no mesh."""
    if flags.istio == "off":
        return None
    if not flags.lease_name:
        parser.error("--istio needs --lease-name: only the holder of the Lease writes")
    sidecars = _sidecars(flags, parser) if flags.istio == "sidecar" else None
    apps = () if sidecars is None else sidecars.namespaces
    # What leads to the clusters of mode sidecar is seen where they are.
    seen_by = tuple(dict.fromkeys((*flags.istio_export_to, *apps))) or (EVERYWHERE,)
    gateway = MeshGateway(
        namespace=flags.lease_namespace,
        release=flags.istio_release,
        full_name=flags.istio_full_name,
        port=flags.istio_gateway_port,
        tls_port=flags.istio_gateway_tls_port,
        cluster_domain=flags.istio_cluster_domain,
        export_to=seen_by,
    )
    return UpkeepSettings(
        gateway,
        hosts=tuple(dict.fromkeys(flags.istio_host)),
        whole_cluster=not flags.istio_own_namespace_only,
        lease=(flags.lease_namespace, flags.lease_name),
        sidecars=sidecars,
    )


def _sidecars(flags: argparse.Namespace, parser: argparse.ArgumentParser) -> KeptSidecars:
    if not flags.sidecar_namespace or flags.istio_role is None:
        parser.error("--istio=sidecar needs --sidecar-namespace, whose sidecars are told, and --istio-role")
    if flags.lease_namespace in flags.sidecar_namespace:
        parser.error(
            f"--istio=sidecar can't be for {flags.lease_namespace}, the gateway's own namespace: its pods would ask "
            "themselves; have applications in others"
        )
    return KeptSidecars(
        namespaces=tuple(dict.fromkeys(flags.sidecar_namespace)),
        role=flags.istio_role,
        settle_s=flags.istio_settle_seconds,
        workers_port=flags.sidecar_port,
        credentials_port=flags.credentials.port,
    )


def _name(text: str) -> str:
    if not (len(text) <= LONGEST_NAMESPACE and NAMESPACE.fullmatch(text)):
        raise argparse.ArgumentTypeError(f"'{text}' is not a name; write lower-case letters, digits and '-'")
    return text


def _role(text: str) -> str:
    if not is_object_name(text):
        raise argparse.ArgumentTypeError(f"'{text}' is not the name of a Role")
    return text


def _export(text: str) -> str:
    return text if text == EVERYWHERE else _name(text)


def _host(text: str) -> str:
    try:
        return parse_host(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
