"""Which objects may be written or removed now, so that no route ever leads to what a mesh does not know. Pure."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from limpet_operator.mesh.istio_object import PROVIDERS_ANNOTATION, STEP_LABEL, IstioObject
from limpet_operator.mesh.provider_clusters import is_provider_host

IstioKey = tuple[str, str, str]
"""Kind, namespace and name."""

_ORDER: Final = ("ServiceEntry", "DestinationRule", "VirtualService", "EnvoyFilter")
"""Each kind may name what those before it make known."""
_ASKING: Final = _ORDER.index("EnvoyFilter")
_FILTERS: Final = _ASKING + 1
"""EnvoyFilters of one Provider come after those that have all sidecars of the namespace ask."""
_ROUTES: Final = _FILTERS + 1


@dataclass(frozen=True, slots=True)
class Step:
    """One object that is to be written or removed."""

    rank: int
    """What has a higher one may name this."""
    subjects: frozenset[str]
    """What it is about: objects that share one of these depend on each other."""
    is_cluster: bool = False
    """Whether it makes the cluster of a Provider what it is, so that a route that leads there needs it."""

    @property
    def is_routes(self) -> bool:
        """Whether it leads sidecars' requests to the cluster of a Provider."""
        return self.rank == _ROUTES

    @property
    def is_asking(self) -> bool:
        """Whether it has the sidecars of a namespace ask."""
        return self.rank == _ASKING


def step_of(target: IstioObject, app_namespaces: Collection[str]) -> Step:
    """The step that writes this object; `app_namespaces` are those of EnvoyFilters."""
    return _step(target.kind, target.namespace, target.step, target.providers, target.spec, app_namespaces)


def step_of_raw(raw: Mapping[str, Any], app_namespaces: Collection[str]) -> Step:
    """The step that removes an object of ours."""
    metadata = raw["metadata"]
    named = (metadata.get("annotations") or {}).get(PROVIDERS_ANNOTATION, "")
    providers = tuple(filter(None, named.split(", ")))
    number = 1 if (metadata.get("labels") or {}).get(STEP_LABEL) is None else 2
    return _step(raw["kind"], metadata["namespace"], number, providers, raw.get("spec") or {}, app_namespaces)


def asked_in(namespace: str) -> str:
    """The subject of what has sidecars of a namespace ask."""
    return f"@{namespace}"


def _step(
    kind: str,
    namespace: str,
    number: int,
    providers: Collection[str],
    spec: Mapping[str, Any],
    app_namespaces: Collection[str],
) -> Step:
    own = frozenset(f"{name}@{namespace}" for name in providers)
    if kind == "EnvoyFilter" and number > 1:
        return Step(_ROUTES, own)
    if kind == "EnvoyFilter":
        return Step(_FILTERS if own else _ASKING, own | {asked_in(namespace)}, is_cluster=bool(own))
    hosts = [*(spec.get("hosts") or ()), *([spec["host"]] if "host" in spec else ())]
    if hosts and all(is_provider_host(host) for host in hosts):
        everywhere = {f"{name}@{each}" for name in providers for each in app_namespaces}
        return Step(_ORDER.index(kind), frozenset(everywhere.union(hosts)), is_cluster=True)
    return Step(_ORDER.index(kind), frozenset((*providers, *hosts)))


def next_steps(to_write: Mapping[IstioKey, Step], to_remove: Mapping[IstioKey, Step]) -> frozenset[IstioKey]:
    """Those whose turn it is.

    An object waits until those of lower rank about the same are written; to be removed, until those of higher rank
    are.
    """
    return _first(to_write, 1) | _first(to_remove, -1)


def _first(steps: Mapping[IstioKey, Step], direction: int) -> frozenset[IstioKey]:
    earliest: dict[str, float] = {}
    for step in steps.values():
        for subject in step.subjects:
            earliest[subject] = min(direction * step.rank, earliest.get(subject, math.inf))
    return frozenset(
        key
        for key, step in steps.items()
        if all(direction * step.rank <= earliest[subject] for subject in step.subjects)
    )
