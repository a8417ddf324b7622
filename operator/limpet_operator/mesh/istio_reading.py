"""What a cluster knows of Istio already, read once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from limpet_operator.mesh.conflicts import KINDS_IN_CONFLICT
from limpet_operator.mesh.injection import injection_note
from limpet_operator.mesh.istio_object import ISTIO_GROUP, PLURALS_OF_ISTIO
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.read_once import answer_of

if TYPE_CHECKING:  # a command that asks no cluster does without the packages of one
    from limpet_operator.sources.kube_reader import KubeReader

_VERSIONS: Final = ("v1", "v1beta1", "v1alpha3")
"""From the newest; fields that are written here mean the same in each."""


@dataclass(frozen=True, slots=True)
class IstioThere:
    """Istio as a cluster has it."""

    version: str | None
    """The newest version of its API that is served; None: its CRDs are missing."""
    existing: tuple[dict[str, Any], ...] = ()
    """ServiceEntries and VirtualServices of all namespaces, whoever wrote them."""
    notes: tuple[str, ...] = ()
    """What could not be read, and namespaces whose pods have no sidecars."""


async def read_istio(
    api: "KubeReader",
    app_namespaces: Sequence[str],
    *,
    filters: bool,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> IstioThere:
    """Raises ApiError where the API server does not answer."""
    try:
        group = await answer_of(api, f"/apis/{ISTIO_GROUP}", sleep)
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return IstioThere(None, notes=("the cluster has no CRDs of Istio: nothing of this can be applied there yet",))
    version = served_version(group)
    existing: list[dict[str, Any]] = []
    notes: list[str | None] = []
    for kind in KINDS_IN_CONFLICT:
        found = await _asked(api, f"/apis/{ISTIO_GROUP}/{version}/{PLURALS_OF_ISTIO[kind]}", sleep)
        if isinstance(found, ApiError):
            notes.append(f"whether somebody else has a {kind} for these hosts could not be seen: {found}")
        else:
            existing += [{**each, "kind": kind} for each in found.get("items") or ()]
    for name in app_namespaces:
        found = await _asked(api, f"/api/v1/namespaces/{name}", sleep)
        if isinstance(found, ApiError) and found.status == HTTPStatus.NOT_FOUND:
            notes.append(f"there is no namespace {name}: its pods are served once it is there and has sidecars")
        elif isinstance(found, ApiError):
            notes.append(f"whether pods of namespace {name} have sidecars could not be seen: {found}")
        else:
            notes.append(injection_note(name, found["metadata"].get("labels") or {}, filters=filters))
    return IstioThere(version, tuple(existing), tuple(filter(None, notes)))


def served_version(group: Mapping[str, Any]) -> str | None:
    """The newest version that this API group of Istio's is served in; None: none that is known here."""
    served = {each.get("version") for each in group.get("versions") or ()}
    return next((each for each in _VERSIONS if each in served), None)


async def _asked(
    api: "KubeReader", path: str, sleep: Callable[[float], Awaitable[object]]
) -> Mapping[str, Any] | ApiError:
    """The answer, or a refusal that stays one."""
    try:
        return await answer_of(api, path, sleep)
    except ApiError as error:
        if error.is_transient:
            raise
        return error
