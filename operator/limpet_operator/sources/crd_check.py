"""Whether the API server serves our four kinds, with every field that this version has.

Both come from what any account may read (discovery and OpenAPI), so the check needs no rights.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from limpet_operator.resources.problem import API_VERSION
from limpet_operator.sources.kube_error import ApiError

if TYPE_CHECKING:  # a command that asks no cluster does without the packages of one
    from limpet_operator.sources.kube_reader import KubeReader

APPLY: Final = "kubectl apply --server-side --force-conflicts -f charts/limpet/crds/"
"""The command that helps; Helm itself never changes an existing CRD."""

_SHOWN: Final = 3


async def crd_problem(api: "KubeReader", crds: Sequence[Mapping[str, Any]]) -> str | None:
    """What is wrong with the CRDs and what to run, in one line; None: nothing. Raises ApiError."""
    served = await _kinds(api)
    missing = [crd for crd in crds if crd["spec"]["names"]["kind"] not in served]
    if missing:
        return _problem("not installed", [crd["metadata"]["name"] for crd in missing])
    schemas = await _schemas(api)
    lacking = [
        f"{crd['metadata']['name']} ({shortened(fields)})"
        for crd in crds
        if (schema := schemas.get(crd["spec"]["names"]["kind"])) is not None
        and (fields := list(lacking_fields(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], schema)))
    ]
    return _problem("of an older version than this operator, fields are missing", lacking) if lacking else None


def _problem(what: str, names: Iterable[str]) -> str:
    """One line for the user."""
    return f"CustomResourceDefinitions are {what}: {', '.join(sorted(names))}; run: {APPLY}"


def shortened(fields: Sequence[str]) -> str:
    """The first few, and how many more."""
    more = len(fields) - _SHOWN
    return ", ".join(fields[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def lacking_fields(ours: Mapping[str, Any], served: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Paths of fields that our schema has and the served one lacks."""
    properties = served.get("properties", {})
    for name, below in ours.get("properties", {}).items():
        if not path and name in ("apiVersion", "kind", "metadata"):
            continue  # The API server writes its own.
        here = f"{path}.{name}" if path else name
        if name in properties:
            yield from lacking_fields(below, properties[name], here)
        else:
            yield here
    if "items" in ours:
        yield from lacking_fields(ours["items"], served.get("items", {}), f"{path}[]")


async def _kinds(api: "KubeReader") -> frozenset[str]:
    try:
        found = await api.get(f"/apis/{API_VERSION}")
    except ApiError as error:
        if error.status != 404:
            raise
        return frozenset()
    return frozenset(resource["kind"] for resource in found["resources"])


async def _schemas(api: "KubeReader") -> Mapping[str, Mapping[str, Any]]:
    """The schemas that are published, by kind: OpenAPI lags seconds behind discovery, and may be forbidden to us."""
    try:
        found = await api.get(f"/openapi/v3/apis/{API_VERSION}")
    except ApiError as error:
        if error.status in (401, 403, 404):
            return {}
        raise
    group, _, version = API_VERSION.partition("/")
    return {
        gvk["kind"]: schema
        for schema in found.get("components", {}).get("schemas", {}).values()
        for gvk in schema.get("x-kubernetes-group-version-kind", ())
        if (gvk["group"], gvk["version"]) == (group, version)
    }
