"""What others have written for the same hosts: it stays, and ours gives way."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from limpet_operator.mesh.gateway import EVERYWHERE, MeshGateway
from limpet_operator.mesh.hosts import in_cluster, plain
from limpet_operator.mesh.istio_object import GATEWAY_LABEL, MANAGED_BY, OURS, IstioObject

KINDS_IN_CONFLICT: Final = ("ServiceEntry", "VirtualService")
"""Kinds of which a mesh takes one for a host."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """An object of somebody else for a host of ours."""

    host: str
    kind: str
    theirs: str
    """Its namespace and name."""
    providers: tuple[str, ...]
    """Providers whose requests this is about."""
    message: str

    def __str__(self) -> str:
        return f"{self.host}: {self.message}"


@dataclass(frozen=True, slots=True)
class Settled:
    """What may be written beside what is there."""

    objects: tuple[IstioObject, ...]
    conflicts: tuple[Conflict, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Theirs:
    kind: str
    namespace: str
    name: str
    hosts: tuple[str, ...]
    spec: Mapping[str, Any]

    @property
    def shown(self) -> str:
        return f"{self.namespace}/{self.name}"


def settled(objects: Sequence[IstioObject], existing: Iterable[Mapping[str, Any]], gateway: MeshGateway) -> Settled:
    """The objects without those that somebody else's stand in the way of.

    `existing` are ServiceEntries and VirtualServices as the API returns them; ours are among them. Where somebody else
    routes a host, nothing of ours is written for it; where somebody else has made it known, theirs is used.
    """
    theirs = [each for raw in existing for each in _others(raw, gateway)]
    conflicts: list[Conflict] = []
    notes: list[str] = []
    left_out: set[tuple[str, str]] = set()
    for ours in objects:
        if ours.kind not in KINDS_IN_CONFLICT or "mesh" not in ours.spec.get("gateways", ("mesh",)):
            continue
        for other in theirs:
            if other.kind != ours.kind or not _overlap(ours, other):
                continue
            for host in ours.spec["hosts"]:
                if host in other.hosts:
                    conflicts.append(_conflict(host, ours, other, objects))
                    left_out |= {(kind, host) for kind in _give_way(ours.kind)}
                elif ours.kind == "VirtualService" and (pattern := _pattern_of(host, other.hosts)):
                    notes.append(
                        f"VirtualService {other.shown} routes {pattern} and gets nothing more of what is sent to "
                        f"{host}, as Istio takes the more precise name"
                    )
    kept = tuple(each for each in objects if not any((_decisive(each.kind), h) in left_out for h in each.hosts))
    return Settled(kept, tuple(conflicts), tuple(notes))


def _decisive(kind: str) -> str:
    """The kind with which it stays or goes."""
    return "VirtualService" if kind == "Gateway" else kind


def _give_way(kind: str) -> Sequence[str]:
    return KINDS_IN_CONFLICT if kind == "VirtualService" else (kind,)


def _others(raw: Mapping[str, Any], gateway: MeshGateway) -> Iterator[_Theirs]:
    kind, metadata, spec = raw.get("kind"), raw.get("metadata") or {}, raw.get("spec") or {}
    if kind not in KINDS_IN_CONFLICT or _is_ours(metadata, gateway):
        return
    if kind == "VirtualService" and "mesh" not in (spec.get("gateways") or ["mesh"]):
        return  # It is about what comes in through a gateway of Istio's.
    namespace = metadata.get("namespace") or "default"
    hosts = tuple(_whole(str(host), namespace, gateway) for host in spec.get("hosts") or ())
    yield _Theirs(kind, namespace, metadata.get("name", ""), hosts, spec)


def _is_ours(metadata: Mapping[str, Any], gateway: MeshGateway) -> bool:
    labels = metadata.get("labels") or {}
    return (
        labels.get(MANAGED_BY) == OURS
        and labels.get(GATEWAY_LABEL) == gateway.label
        and metadata.get("namespace") == gateway.namespace
    )


def _whole(host: str, namespace: str, gateway: MeshGateway) -> str:
    name = plain(host)
    return name if "*" in name else in_cluster(name, namespace, gateway.cluster_domain) or name


def _overlap(ours: IstioObject, other: _Theirs) -> bool:
    """Whether some namespace sees both."""
    mine, yours = (
        {namespace if each == "." else each for each in spec.get("exportTo") or (EVERYWHERE,)}
        for namespace, spec in ((ours.namespace, ours.spec), (other.namespace, other.spec))
    )
    return EVERYWHERE in mine | yours or bool(mine & yours)


def _pattern_of(host: str, patterns: Iterable[str]) -> str | None:
    return next((each for each in patterns if each.startswith("*") and host.endswith(each[1:])), None)


def _conflict(host: str, ours: IstioObject, other: _Theirs, objects: Sequence[IstioObject]) -> Conflict:
    if other.kind == "VirtualService":
        message = (
            f"VirtualService {other.shown} routes it already, so nothing is written for it; remove this host there, "
            "or send what it routes to the gateway by a route of its own"
        )
    else:
        message = f"ServiceEntry {other.shown} makes it known already and is used as it is{_lacking(ours, other)}"
    providers = next((each.providers for each in objects if each.kind == ours.kind and host in each.spec["hosts"]), ())
    return Conflict(host, other.kind, other.shown, providers, message)


def _lacking(ours: IstioObject, other: _Theirs) -> str:
    """What theirs does not say of the host, so that it can't be routed."""
    said = {(port.get("number"), port.get("protocol")) for port in other.spec.get("ports") or ()}
    same = {"TLS": ("TLS", "HTTPS"), "HTTP": ("HTTP",), "TCP": ("TCP",)}
    lacking = [
        f"{port['number']} ({port['protocol']})"
        for port in ours.spec["ports"]
        if not any((port["number"], protocol) in said for protocol in same[port["protocol"]])
    ]
    return f"; it lacks port {', '.join(lacking)}, whose requests so stay as they are" if lacking else ""
