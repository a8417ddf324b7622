"""How far the objects of a mesh are from what is wanted, and what that means for each Provider. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from limpet_operator.mesh.conflicts import Conflict
from limpet_operator.mesh.istio_object import ISTIO_GROUP, PLURALS_OF_ISTIO, IstioObject
from limpet_operator.planning.finding import Finding, MeshedReason, Truth
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.upkeep.istio_watch import SHARED
from limpet_operator.upkeep.ownership import FIELD_MANAGER
from limpet_operator.upkeep.steps import IstioKey


@dataclass(frozen=True, slots=True)
class Progress:
    """One moment."""

    known: bool
    """Whether all is known of what the cluster has."""
    missing: bool
    """Whether the cluster lacks Istio's CRDs."""
    refused: str | None
    """What must be granted before anything is written."""
    wanted: Mapping[IstioKey, IstioObject]
    conflicts: tuple[Conflict, ...]
    outstanding: frozenset[IstioKey]
    """Those that are not yet there as they should be."""
    failed: Mapping[IstioKey, ApiError]
    """Those of which the last write failed."""


PENDING: Final = Finding("Meshed", "Unknown", "Pending", "its objects for the mesh are being written")
_NOT_ACCEPTED: Final = Finding("Meshed", "Unknown", "NotAccepted", "checked once the object is accepted")


def findings_of(progress: Progress, providers: Mapping[str, bool]) -> dict[str, Finding]:
    """By name, whether requests for a Provider's host come to the gateway; `providers` tells which are accepted."""
    objects: dict[str, list[IstioObject]] = {name: [] for name in providers}
    for each in progress.wanted.values():
        for name in each.providers:
            if name in objects:
                objects[name].append(each)
    return {name: _finding(name, its, progress) if providers[name] else _NOT_ACCEPTED for name, its in objects.items()}


def refusal(key: IstioKey, error: ApiError) -> str:
    """An API server's refusal to write an object, with what to do."""
    kind, namespace, name = key
    if error.status == HTTPStatus.FORBIDDEN:
        verbs = "create, patch and delete" if kind in SHARED else "list, watch, create, patch and delete"
        plural = PLURALS_OF_ISTIO[kind]
        return f"grant {verbs} on {plural} of {ISTIO_GROUP} in namespace {namespace} to the operator"
    if error.status == HTTPStatus.CONFLICT:
        return f"{kind} {namespace}/{name} is somebody else's: {error}; rename theirs, or remove it"
    return f"{kind} {namespace}/{name} is not taken: {error}"


def closed_to(wanted: Iterable[IstioKey], closed: Mapping[str, str]) -> dict[IstioKey, ApiError]:
    """Objects that are not even tried, as nothing may be read in these namespaces, which are given with the reason."""
    return {
        key: ApiError(HTTPStatus.FORBIDDEN, closed[key[1]])
        for key in wanted
        if key[0] == "EnvoyFilter" and key[1] in closed
    }


def left_by_hand(key: IstioKey) -> str:
    """What is said of an object that nothing needs and that no operator has written."""
    kind, namespace, name = key
    return (
        f"{kind} {namespace}/{name} was applied by hand for this gateway, and mesh.istio.mode does not need it for any "
        "Provider: it is left as it is; delete it, or choose the mode that it is for"
    )


def undone(key: IstioKey, raw: Mapping[str, Any] | None, every_s: float) -> str:
    """What is said of an object that somebody undoes each time; `raw` is what they made of it, None: it was deleted."""
    kind, namespace, name = key
    entries = raw["metadata"].get("managedFields") or () if raw is not None else ()
    managers = sorted({str(each.get("manager")) for each in entries} - {FIELD_MANAGER})
    who = f" ({', '.join(managers)})" if managers else ""
    return (
        f"{kind} {namespace}/{name} is changed or deleted by somebody else{who} each time that it is written; it is "
        f"put back more and more rarely, down to once in {every_s:g} s: have them leave it alone"
    )


def _finding(name: str, objects: Sequence[IstioObject], progress: Progress) -> Finding:
    if progress.missing:
        return _meshed(
            "False", "NoIstio", "the cluster lacks CRDs of Istio; install it, or set mesh.istio.enabled=false"
        )
    if progress.refused is not None:
        return _meshed("False", "NotPermitted", progress.refused)
    if not progress.known:
        return PENDING
    own = [each for each in progress.conflicts if name in each.providers]
    if taken := [str(each) for each in own if each.kind == "VirtualService"]:
        return _meshed("False", "Conflicted", "; ".join(taken))
    failures = [(each.key, progress.failed[each.key]) for each in objects if each.key in progress.failed]
    for key, error in failures:
        return _meshed("False", _reason(error), refusal(key, error))
    if any(each.key in progress.outstanding for each in objects):
        return PENDING
    routes = [each.name for each in objects if each.kind == "VirtualService"]
    if not routes:
        return _meshed("False", "NotRoutable", "its host is an address, and TLS names no host by which to route it")
    notes = "".join(f"; {each}" for each in own)
    asking = sorted({each.namespace for each in objects if each.kind == "EnvoyFilter" and each.step > 1})
    aside = f", and sidecars of {', '.join(asking)} send there by themselves what is decided" if asking else ""
    text = f"VirtualService {', '.join(routes)} brings its host's requests here{aside}{notes}"
    return _meshed("True", "Meshed", text)


def _reason(error: ApiError) -> MeshedReason:
    if error.status == HTTPStatus.FORBIDDEN:
        return "NotPermitted"
    return "Conflicted" if error.status == HTTPStatus.CONFLICT else "NotTaken"


def _meshed(status: Truth, reason: MeshedReason, message: str) -> Finding:
    return Finding("Meshed", status, reason, message)


def news(before: Iterable[Conflict], now: Iterable[Conflict]) -> Iterator[tuple[bool, str]]:
    """Conflicts that came, each with True, and those that are settled."""
    old, new = {str(each) for each in before}, {str(each) for each in now}
    yield from ((True, text) for text in sorted(new - old))
    yield from ((False, text) for text in sorted(old - new))
