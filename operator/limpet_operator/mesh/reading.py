"""The Providers that objects of a mesh are written for, from files or from a cluster, with what lies beside them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from limpet_operator.mesh.istio_reading import IstioThere, read_istio
from limpet_operator.planning.plan import PlannedProvider
from limpet_operator.resources.objects import Objects, Parser
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.resources.provider import CaCertificateRef, Provider
from limpet_operator.resources.secret import ConfigMapObject, SecretObject
from limpet_operator.sources.chosen_place import (
    ClusterChoice,
    asked_of_cluster,
    objects_of_files,
    say_invalid_providers,
)
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.read_once import answer_of, read_objects

if TYPE_CHECKING:  # a command that asks no cluster does without the packages of one
    from limpet_operator.sources.kube_reader import KubeReader


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
    """From YAML files; what can't be used is said. Raises UnreadablePlaceError."""
    objects = objects_of_files(directory, say)
    texts: dict[tuple[str, CaCertificateRef], str] = {}
    for namespace, ref in _references(objects):
        key = ObjectKey(ref.kind, namespace, ref.name)
        held = objects.find(SecretObject if ref.kind == "Secret" else ConfigMapObject, key)
        if isinstance(held, SecretObject | ConfigMapObject):
            texts |= _certificate(namespace, ref, held)
    return MeshProviders(objects, None, texts)


def of_cluster(
    choice: ClusterChoice, app_namespaces: Sequence[str], say: Callable[[str], None], *, filters: bool
) -> MeshProviders:
    """From a cluster; `filters`: whether EnvoyFilters will be among the objects. Raises UnreadablePlaceError."""
    parser = Parser.load()

    async def read(api: "KubeReader") -> MeshProviders:
        objects = await read_objects(api, parser, ("Provider",), choice.namespaces)
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

    found = asked_of_cluster(choice, read)
    say_invalid_providers(found.objects, say)
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
