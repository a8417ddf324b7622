"""`limpet mesh`: the objects with which a service mesh brings applications' requests to Limpet."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import typer

from limpet_operator.mesh.conflicts import Settled, settled
from limpet_operator.mesh.gateway import EVERYWHERE, EgressGateway, MeshGateway
from limpet_operator.mesh.hosts import in_cluster, parse_host
from limpet_operator.mesh.istio_egress import egress_objects
from limpet_operator.mesh.istio_object import MeshObjects
from limpet_operator.mesh.istio_sidecar import SidecarMesh, sidecar_objects
from limpet_operator.mesh.printing import printed
from limpet_operator.mesh.reading import MeshProviders, of_cluster, of_files
from limpet_operator.planning.plan import Plan
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.publish.publication import settings_for
from limpet_operator.resources.metadata import LONGEST_NAMESPACE, NAMESPACE
from limpet_operator.resources.provider import Provider
from limpet_operator.sources.chosen_place import FromCluster, Kubeconfig, Namespaces, UnreadablePlaceError, chosen_place

T = TypeVar("T")

_EDGE_LABEL: Final = "istio=egressgateway"
"""As Istio's own installation labels the pods."""

mesh = typer.Typer(help="Objects that bring the requests of a service mesh to Limpet.", no_args_is_help=True)


@mesh.callback()
def _whole() -> None:
    """A group, so that `istio` is named although it is alone."""


@mesh.command("istio")
def istio(
    providers: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Directory or file with the Providers.", show_default=False),
    ] = None,
    from_cluster: FromCluster = False,
    kubeconfig: Kubeconfig = None,
    namespace: Namespaces = [],  # noqa: B006 (typer's way to say none)
    mode: Annotated[
        Literal["egress", "sidecar"],
        typer.Option(help="Who decides: the gateway, or the applications' own sidecars, which ask its workers."),
    ] = "egress",
    host: Annotated[
        list[str],
        typer.Option(
            metavar="HOST", help="Host that applications call and that need not exist: llm.internal. Repeatable."
        ),
    ] = [],  # noqa: B006
    gateway_namespace: Annotated[str, typer.Option(help="Namespace of the gateway, and of these objects.")] = "limpet",
    release: Annotated[str, typer.Option(help="Helm release of the gateway.")] = "limpet",
    gateway_port: Annotated[
        int, typer.Option(help="Port of the gateway's Service for http://.", min=1, max=65535)
    ] = 80,
    gateway_tls_port: Annotated[
        int | None,
        typer.Option(
            help="Its port for https://, with a certificate for these hosts that applications trust. Without it, "
            "https:// requests go to the hosts as before.",
            min=1,
            max=65535,
            show_default=False,
        ),
    ] = None,
    egress_gateway: Annotated[
        str | None,
        typer.Option(
            metavar="NAME.NAMESPACE",
            help="Service of Istio's egress gateway, with the ports 80 and 443, if all that leaves the mesh has to go "
            "through it: istio-egressgateway.istio-system.",
            show_default=False,
        ),
    ] = None,
    egress_gateway_label: Annotated[
        str | None,
        typer.Option(metavar="NAME=VALUE", help=f"Label of its pods.  [default: {_EDGE_LABEL}]", show_default=False),
    ] = None,
    export_to: Annotated[
        list[str],
        typer.Option(
            metavar="NAMESPACE",
            help="Namespace whose requests are meant.  [default: all; with --mode sidecar those of the applications, "
            "which always are] Repeatable.",
        ),
    ] = [],  # noqa: B006
    app_namespace: Annotated[
        list[str],
        typer.Option(metavar="NAMESPACE", help="With --mode sidecar: where the applications are. Repeatable."),
    ] = [],  # noqa: B006
    ca_file: Annotated[
        Path | None,
        typer.Option(
            help="With --mode sidecar: the authority of Limpet's own certificates, ca.crt of its Secrets.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print Istio's objects for the Providers' hosts, as YAML to apply.

    What can't be written, and what somebody else has written for the same hosts, is said on stderr; status 1 if a host
    was left out for that.
    """
    place = chosen_place(providers, from_cluster, kubeconfig, namespace, "--providers")
    sidecars = mode == "sidecar"
    _check_mode(sidecars, {"--app-namespace": bool(app_namespace), "--ca-file": ca_file is not None})
    if gateway_tls_port == gateway_port:
        message = f"is {gateway_port}, like --gateway-port; a Service has another port for each"
        raise typer.BadParameter(message, param_hint="--gateway-tls-port")
    if egress_gateway is None and egress_gateway_label is not None:
        message = "is about an egress gateway: name that with --egress-gateway, too"
        raise typer.BadParameter(message, param_hint="--egress-gateway-label")
    if sidecars and egress_gateway is not None:
        message = "belongs to mode egress: in mode sidecar applications' own sidecars reach the providers"
        raise typer.BadParameter(message, param_hint="--egress-gateway")
    apps = tuple(dict.fromkeys(_checked(_name, each, "--app-namespace") for each in app_namespace))
    seen_by = tuple(each if each == EVERYWHERE else _checked(_name, each, "--export-to") for each in export_to)
    gateway = MeshGateway(
        namespace=_checked(_name, gateway_namespace, "--gateway-namespace"),
        release=_checked(_name, release, "--release"),
        port=gateway_port,
        tls_port=gateway_tls_port,
        egress=None if egress_gateway is None else _edge(egress_gateway, egress_gateway_label or _EDGE_LABEL),
        # What leads to the clusters of mode sidecar is seen where they are.
        export_to=(*seen_by, *apps) or (EVERYWHERE,),
    )
    if gateway.namespace in apps:
        message = f"{gateway.namespace} is the gateway's own, whose pods would ask themselves; name others"
        raise typer.BadParameter(message, param_hint="--app-namespace")
    hosts = tuple(dict.fromkeys(_checked(parse_host, each, "--host") for each in host))
    if own := [each for each in hosts if in_cluster(each, gateway.namespace, gateway.cluster_domain) == gateway.host]:
        message = f"{own[0]} is the gateway's own Service, which applications may call as it is; leave it out"
        raise typer.BadParameter(message, param_hint="--host")
    meant = tuple(dict.fromkeys((*apps, *(each for each in seen_by if each != EVERYWHERE))))
    try:
        found = of_files(place, _tell) if isinstance(place, Path) else of_cluster(place, meant, _tell, filters=sidecars)
    except UnreadablePlaceError as error:
        raise _failed(str(error)) from error
    if not found.objects.of(Provider) and not hosts:
        where = "the cluster" if providers is None else str(providers)
        raise _failed(f"{where} has no Provider that could be used; name one that has, or hosts with --host")
    wanted = egress_objects(found.objects.of(Provider), hosts, gateway)
    if ca_file is not None:
        theirs = {each.host for each in _settled(wanted, found, gateway).conflicts if each.kind == "VirtualService"}
        wanted = _of_sidecars(found, hosts, gateway, SidecarMesh(apps, _authority(ca_file)), theirs)
    _print(wanted, found, gateway)


def _check_mode(sidecars: bool, given: Mapping[str, bool]) -> None:
    """Refuse flags of mode sidecar that are missing there, or given elsewhere."""
    if wrong := [flag for flag, is_given in given.items() if is_given != sidecars]:
        message = (
            "--mode sidecar needs it, too: --app-namespace says whose sidecars are told, --ca-file what they trust"
            if sidecars
            else "is for --mode sidecar alone: give that, too, or leave it out"
        )
        raise typer.BadParameter(message, param_hint=", ".join(wrong))


def _of_sidecars(
    found: MeshProviders,
    hosts: Sequence[str],
    gateway: MeshGateway,
    sidecars: SidecarMesh,
    routed_by_others: Collection[str],
) -> MeshObjects:
    providers, notes = found.planned()
    envoy = settings_for(Plan(providers=providers), EnvoySettings("::", 10000, ()))
    written = sidecar_objects(providers, hosts, gateway, sidecars, envoy, routed_by_others)
    return MeshObjects(written.objects, (*notes, *written.notes))


def _authority(ca_file: Path) -> str:
    try:
        ca_pem = ca_file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{ca_file} can't be read: {error}", param_hint="--ca-file") from error
    if "-----BEGIN CERTIFICATE-----" not in ca_pem:
        raise typer.BadParameter(f"{ca_file} holds no certificate in PEM", param_hint="--ca-file")
    return ca_pem


def _settled(wanted: MeshObjects, found: MeshProviders, gateway: MeshGateway) -> Settled:
    return settled(wanted.objects, found.istio.existing if found.istio else (), gateway)


def _print(wanted: MeshObjects, found: MeshProviders, gateway: MeshGateway) -> None:
    there, result = found.istio, _settled(wanted, found, gateway)
    for note in (*(there.notes if there else ()), *wanted.notes, *result.notes):
        _tell(f"note: {note}")
    for conflict in result.conflicts:
        _tell(f"conflict: {conflict}")
    typer.echo(printed(result.objects, there.version if there else None), nl=False)
    if any(conflict.kind == "VirtualService" for conflict in result.conflicts):
        raise typer.Exit(1)


def _edge(service: str, label: str) -> EgressGateway:
    name, _, namespace = service.partition(".")
    for part in (name, namespace):
        if not (len(part) <= LONGEST_NAMESPACE and NAMESPACE.fullmatch(part)):
            message = f"{service} names no Service; write its name and namespace: istio-egressgateway.istio-system"
            raise typer.BadParameter(message, param_hint="--egress-gateway")
    key, equals, value = label.partition("=")
    if not (key and equals and value):
        message = f"{label} is no label; write it as istio=egressgateway"
        raise typer.BadParameter(message, param_hint="--egress-gateway-label")
    return EgressGateway(name, namespace, (key, value))


def _name(text: str) -> str:
    if not (len(text) <= LONGEST_NAMESPACE and NAMESPACE.fullmatch(text)):
        raise ValueError(f"{text} is not a name; write lower-case letters, digits and '-'")
    return text


def _checked(read: Callable[[str], T], text: str, flag: str) -> T:
    try:
        return read(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=flag) from error


def _tell(line: str) -> None:
    typer.echo(line, err=True)


def _failed(message: str) -> typer.Exit:
    _tell(f"limpet mesh istio: {message}")
    return typer.Exit(1)
