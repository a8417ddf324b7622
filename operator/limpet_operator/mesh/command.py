"""`limpet mesh`: the objects with which a service mesh brings applications' requests to Limpet."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from limpet_operator.mesh.conflicts import settled
from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.mesh.hosts import parse_host
from limpet_operator.mesh.istio_egress import egress_objects
from limpet_operator.mesh.istio_object import MeshObjects
from limpet_operator.mesh.istio_reading import IstioThere, read_istio
from limpet_operator.mesh.printing import printed
from limpet_operator.resources.metadata import LONGEST_NAMESPACE, NAMESPACE
from limpet_operator.resources.objects import Objects, Parser
from limpet_operator.resources.problem import Invalid
from limpet_operator.resources.provider import Provider
from limpet_operator.sources import files
from limpet_operator.sources.file_store import FileStore

T = TypeVar("T")

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
    from_cluster: Annotated[
        bool, typer.Option("--from-cluster", help="Read the Providers of the cluster that kubectl would ask.")
    ] = False,
    kubeconfig: Annotated[
        Path | None, typer.Option(help="File that names the cluster.  [default: as for kubectl]", show_default=False)
    ] = None,
    namespace: Annotated[
        list[str],
        typer.Option(help="Of the cluster's Providers, those in this namespace.  [default: all] Repeatable."),
    ] = [],  # noqa: B006 (typer's way to say none)
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
    export_to: Annotated[
        list[str],
        typer.Option(metavar="NAMESPACE", help="Namespace whose requests are meant.  [default: all] Repeatable."),
    ] = [],  # noqa: B006
) -> None:
    """Print Istio's objects for the Providers' hosts, as YAML to apply.

    What can't be written, and what somebody else has written for the same hosts, is said on stderr; status 1 if a host
    was left out for that.
    """
    if from_cluster == (providers is not None):
        message = "Providers are in a directory or in a cluster: give either --providers DIR or --from-cluster"
        raise typer.BadParameter(message, param_hint="--providers")
    if not from_cluster and (kubeconfig is not None or namespace):
        raise typer.BadParameter("is about a cluster: give --from-cluster, too", param_hint="--kubeconfig, --namespace")
    gateway = MeshGateway(
        namespace=_checked(_namespace, gateway_namespace, "--gateway-namespace"),
        release=_checked(_namespace, release, "--release"),
        port=gateway_port,
        tls_port=gateway_tls_port,
        export_to=tuple(each if each == "*" else _checked(_namespace, each, "--export-to") for each in export_to)
        or ("*",),
    )
    hosts = tuple(dict.fromkeys(_checked(parse_host, each, "--host") for each in host))
    objects, there = _of_cluster(kubeconfig, namespace) if providers is None else (_of_files(providers), None)
    specs = objects.of(Provider)
    if not specs and not hosts:
        where = "the cluster" if providers is None else str(providers)
        raise _failed(f"{where} has no Provider that could be used; name one that has, or hosts with --host")
    _print(egress_objects(specs, hosts, gateway), there, gateway)


def _print(wanted: MeshObjects, there: IstioThere | None, gateway: MeshGateway) -> None:
    found = settled(wanted.objects, there.existing if there else (), gateway)
    for note in (*(there.notes if there else ()), *wanted.notes, *found.notes):
        typer.echo(f"note: {note}", err=True)
    for conflict in found.conflicts:
        typer.echo(f"conflict: {conflict}", err=True)
    typer.echo(printed(found.objects, there.version if there else None), nl=False)
    if any(conflict.kind == "VirtualService" for conflict in found.conflicts):
        raise typer.Exit(1)


def _of_files(directory: Path) -> Objects:
    store = FileStore(Parser.load())
    try:
        store.replace(files.scan(directory).documents)
    except FileNotFoundError as error:
        raise _failed(str(error)) from error
    for reading in store.readings:
        if isinstance(reading.result, Invalid) and (reading.key is None or reading.key.kind == "Provider"):
            what = f"{reading.key}" if reading.key is not None else "this"
            typer.echo(f"{reading.document.origin}: {what} is left out: {reading.result.message}", err=True)
    return store.objects


def _of_cluster(kubeconfig: Path | None, namespaces: Sequence[str]) -> tuple[Objects, IstioThere]:
    # Imported here: the client of the Kubernetes API takes longer than all the rest.
    from limpet_operator.sources.kube_error import ApiError
    from limpet_operator.sources.kube_reader import Access, KubeReader, NoClusterError
    from limpet_operator.sources.read_once import UnreadableClusterError, read_objects

    async def read() -> tuple[Objects, IstioThere]:
        async with await KubeReader.connect(Access(kubeconfig)) as api:
            objects = await read_objects(api, Parser.load(), ("Provider",), namespaces)
            return objects, await read_istio(api, (), filters=False)

    try:
        objects, there = asyncio.run(read())
    except (NoClusterError, UnreadableClusterError, ApiError) as error:
        raise _failed(str(error)) from error
    for key, invalid in sorted(objects.invalid.items()):
        typer.echo(f"{key} is left out: {invalid.message}", err=True)
    return objects, there


def _namespace(text: str) -> str:
    if not (len(text) <= LONGEST_NAMESPACE and NAMESPACE.fullmatch(text)):
        raise ValueError(f"{text} is not a name; write lower-case letters, digits and '-'")
    return text


def _checked(read: Callable[[str], T], text: str, flag: str) -> T:
    try:
        return read(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=flag) from error


def _failed(message: str) -> typer.Exit:
    typer.echo(f"limpet mesh istio: {message}", err=True)
    return typer.Exit(1)
