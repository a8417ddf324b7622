"""The Providers that objects of a mesh are written for, from files or from a cluster, with what lies beside them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from limpet_operator.mesh.istio_reading import IstioThere, read_istio
from limpet_operator.planning.plan import PlannedProvider
from limpet_operator.resources.objects import Objects, Parser
from limpet_operator.resources.problem import Invalid, ObjectKey
from limpet_operator.resources.provider import CaCertificateRef, Provider
from limpet_operator.resources.secret import ConfigMapObject, SecretObject
from limpet_operator.sources import files
from limpet_operator.sources.file_store import FileStore
from limpet_operator.sources.kube_error import ApiError


class NoProvidersError(Exception):
    """Nothing could be read; the message says what to do."""


@dataclass(frozen=True, slots=True)
class MeshProviders:
    """What was read."""

    objects: Objects
    istio: IstioThere | None = None
    """None: no cluster was asked."""
    authorities: Mapping[tuple[str, CaCertificateRef], str] = field(default_factory=dict)
    """Certificates in PEM, by the namespace and reference of Providers."""

    def planned(self) -> tuple[tuple[PlannedProvider, ...], tuple[str, ...]]:
        """The Providers as a mesh needs them, without credentials, and notes on those that lack an authority."""
        planned: list[PlannedProvider] = []
        notes: list[str] = []
        for spec in self.objects.of(Provider):
            ref = spec.tls.ca if spec.tls else None
            ca_pem = None if ref is None else self.authorities.get((spec.key.namespace, ref))
            if ref is not None and ca_pem is None:
                notes.append(
                    f"{spec.key.display_name} is left out: key {ref.key} of {ref.kind} {ref.name} with its authority "
                    "could not be read; put it beside the Provider"
                )
            else:
                planned.append(PlannedProvider(spec.key.display_name, spec, None, ca_pem, {}, {}))
        return tuple(planned), tuple(notes)


def of_files(directory: Path, say: Callable[[str], None]) -> MeshProviders:
    """From YAML files; what can't be used is said. Raises NoProvidersError."""
    store = FileStore(Parser.load())
    try:
        store.replace(files.scan(directory).documents)
    except FileNotFoundError as error:
        raise NoProvidersError(str(error)) from error
    for reading in store.readings:
        if isinstance(reading.result, Invalid) and (reading.key is None or reading.key.kind == "Provider"):
            what = f"{reading.key}" if reading.key is not None else "this"
            say(f"{reading.document.origin}: {what} is left out: {reading.result.message}")
    texts: dict[tuple[str, CaCertificateRef], str] = {}
    for namespace, ref in _references(store.objects):
        key = ObjectKey(ref.kind, namespace, ref.name)
        held = store.objects.find(SecretObject if ref.kind == "Secret" else ConfigMapObject, key)
        if isinstance(held, SecretObject | ConfigMapObject):
            texts |= _certificate(namespace, ref, held)
    return MeshProviders(store.objects, None, texts)


def of_cluster(
    kubeconfig: Path | None,
    namespaces: Sequence[str],
    app_namespaces: Sequence[str],
    say: Callable[[str], None],
    *,
    filters: bool,
) -> MeshProviders:
    """From the cluster that kubectl would ask; `filters`: whether EnvoyFilters will be among the objects."""
    # Imported here: the client of the Kubernetes API takes longer than all the rest.
    from limpet_operator.sources.kube_reader import Access, KubeReader, NoClusterError
    from limpet_operator.sources.read_once import UnreadableClusterError, answer_of, read_objects

    parser = Parser.load()

    async def read() -> MeshProviders:
        async with await KubeReader.connect(Access(kubeconfig)) as api:
            objects = await read_objects(api, parser, ("Provider",), namespaces)
            texts: dict[tuple[str, CaCertificateRef], str] = {}
            for namespace, ref in _references(objects) if filters else ():
                path = f"/api/v1/namespaces/{namespace}/{ref.kind.lower()}s/{ref.name}"
                try:
                    raw = await answer_of(api, path)
                except ApiError as error:
                    say(f"{ref.kind} {namespace}/{ref.name}: {error}")
                    continue
                parsed = parser.parse({"apiVersion": "v1", "kind": ref.kind, **raw})
                if isinstance(parsed, SecretObject | ConfigMapObject):
                    texts |= _certificate(namespace, ref, parsed)
            return MeshProviders(objects, await read_istio(api, app_namespaces, filters=filters), texts)

    try:
        found = asyncio.run(read())
    except (NoClusterError, UnreadableClusterError, ApiError) as error:
        raise NoProvidersError(str(error)) from error
    for key, invalid in sorted(found.objects.invalid.items()):
        say(f"{key} is left out: {invalid.message}")
    return found


def _references(objects: Objects) -> set[tuple[str, CaCertificateRef]]:
    return {
        (spec.key.namespace, spec.tls.ca)
        for spec in objects.of(Provider)
        if spec.tls is not None and spec.tls.ca is not None
    }


def _certificate(
    namespace: str, ref: CaCertificateRef, found: SecretObject | ConfigMapObject
) -> dict[tuple[str, CaCertificateRef], str]:
    text = found.values.get(ref.key, b"").decode("ascii", errors="replace")
    return {(namespace, ref): text} if text else {}
