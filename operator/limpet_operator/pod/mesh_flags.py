"""The operator's flags about a service mesh."""

import argparse

from limpet_operator.mesh.gateway import EVERYWHERE, MeshGateway
from limpet_operator.mesh.hosts import parse_host
from limpet_operator.resources.metadata import LONGEST_NAMESPACE, NAMESPACE
from limpet_operator.upkeep.settings import UpkeepSettings


def add_mesh_flags(parser: argparse.ArgumentParser) -> None:
    """Those that begin with `--istio`."""
    add = parser.add_argument
    add(
        "--istio",
        choices=("off", "egress"),
        default="off",
        help="keep Istio's objects that bring applications' requests for the Providers' hosts to the gateway",
    )
    add("--istio-release", type=_name, default="limpet", help="Helm release of the gateway, a label of its pods")
    add(
        "--istio-full-name",
        type=_name,
        default=None,
        help="what the release's names begin with; default: as the chart does",
    )
    add("--istio-gateway-port", type=int, default=80, help="its port for http://")
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
    gateway = MeshGateway(
        namespace=flags.lease_namespace,
        release=flags.istio_release,
        full_name=flags.istio_full_name,
        port=flags.istio_gateway_port,
        cluster_domain=flags.istio_cluster_domain,
        export_to=tuple(dict.fromkeys(flags.istio_export_to)) or (EVERYWHERE,),
    )
    return UpkeepSettings(
        gateway,
        hosts=tuple(dict.fromkeys(flags.istio_host)),
        whole_cluster=not flags.istio_own_namespace_only,
        lease=(flags.lease_namespace, flags.lease_name),
    )


def _name(text: str) -> str:
    if not (len(text) <= LONGEST_NAMESPACE and NAMESPACE.fullmatch(text)):
        raise argparse.ArgumentTypeError(f"'{text}' is not a name; write lower-case letters, digits and '-'")
    return text


def _export(text: str) -> str:
    return text if text == EVERYWHERE else _name(text)


def _host(text: str) -> str:
    try:
        return parse_host(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
