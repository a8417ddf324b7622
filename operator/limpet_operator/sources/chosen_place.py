"""For commands that look once: whether they read files or a cluster, and what is there."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from limpet_operator.resources.objects import Objects, Parser
from limpet_operator.resources.problem import Invalid
from limpet_operator.sources import files
from limpet_operator.sources.file_store import FileStore
from limpet_operator.sources.kube_error import ApiError

if TYPE_CHECKING:  # a command that asks no cluster does without the packages of one
    from limpet_operator.sources.kube_reader import KubeReader

T = TypeVar("T")

FromCluster = Annotated[
    bool, typer.Option("--from-cluster", help="Read the objects of the cluster that kubectl would ask, instead of DIR.")
]
Kubeconfig = Annotated[
    Path | None, typer.Option(help="File that names the cluster.  [default: as for kubectl]", show_default=False)
]
Namespaces = Annotated[
    list[str],
    typer.Option("--namespace", help="Of the cluster's objects, those in this namespace.  [default: all] Repeatable."),
]


class UnreadablePlaceError(Exception):
    """Nothing could be read there; the message says what to do."""


@dataclass(frozen=True, slots=True)
class ClusterChoice:
    """Which cluster, and what of it."""

    kubeconfig: Path | None
    namespaces: Sequence[str]
    """Empty: all."""


def chosen_place(
    directory: Path | None, from_cluster: bool, kubeconfig: Path | None, namespaces: Sequence[str], flag: str
) -> Path | ClusterChoice:
    """What these flags mean; `flag` is how the directory is given. Raises typer.BadParameter."""
    if from_cluster == (directory is not None):
        written = flag if flag.isupper() else f"{flag} DIR"
        message = f"objects are in a directory or in a cluster: give either {written} or --from-cluster"
        raise typer.BadParameter(message, param_hint=flag)
    if directory is None:
        return ClusterChoice(kubeconfig, namespaces)
    if kubeconfig is not None or namespaces:
        raise typer.BadParameter("is about a cluster: give --from-cluster, too", param_hint="--kubeconfig, --namespace")
    return directory


def objects_of_files(directory: Path, say: Callable[[str], None]) -> Objects:
    """All that the directory or file holds; Providers, and whatever can't be told, that are left out are said.

    Raises UnreadablePlaceError.
    """
    store = FileStore(Parser.load())
    try:
        store.replace(files.scan(directory).documents)
    except FileNotFoundError as error:
        raise UnreadablePlaceError(str(error)) from error
    for reading in store.readings:
        if isinstance(reading.result, Invalid) and (reading.key is None or reading.key.kind == "Provider"):
            what = f"{reading.key} is left out" if reading.key is not None else "left out"
            say(f"{reading.document.origin}: {what}: {reading.result.message}")
    return store.objects


def asked_of_cluster(choice: ClusterChoice, ask: "Callable[[KubeReader], Awaitable[T]]") -> T:
    """What `ask` returns for the cluster's API. Raises UnreadablePlaceError."""
    # Imported here: the client of the Kubernetes API takes longer than all the rest.
    from limpet_operator.sources.kube_reader import Access, KubeReader, NoClusterError
    from limpet_operator.sources.read_once import UnreadableClusterError

    async def asked() -> T:
        async with await KubeReader.connect(Access(choice.kubeconfig)) as api:
            return await ask(api)

    try:
        return asyncio.run(asked())
    except (NoClusterError, UnreadableClusterError, ApiError) as error:
        raise UnreadablePlaceError(str(error)) from error


def say_invalid_providers(objects: Objects, say: Callable[[str], None]) -> None:
    """Say which Providers of a cluster are left out, and why."""
    for key, invalid in sorted(objects.invalid.items()):
        if key.kind == "Provider":
            say(f"{key} is left out: {invalid.message}")
