"""What others have written for the same hosts: it stays, and ours gives way."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from limpet_operator.mesh.gateway import EVERYWHERE, MeshGateway
from limpet_operator.mesh.hosts import in_cluster, plain
from limpet_operator.mesh.istio_object import GATEWAY_LABEL, MANAGED_BY, OURS, IstioObject
from limpet_operator.mesh.provider_clusters import is_provider_host

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

    @property
    def left_to(self) -> frozenset[str]:
        """Hosts for which something of ours was left out."""
        return frozenset(each.host for each in self.conflicts)


@dataclass(frozen=True, slots=True)
class Theirs:
    """An object of somebody else that may be about hosts of ours."""

    kind: str
    namespace: str
    name: str
    hosts: tuple[str, ...]
    spec: Mapping[str, Any]

    @property
    def shown(self) -> str:
        """Its namespace and name."""
        return f"{self.namespace}/{self.name}"

    @property
    def seen_in(self) -> frozenset[str]:
        """Namespaces whose pods it is for."""
        return _seen_in(self.namespace, self.spec)


class OthersByHost:
    """Objects of somebody else by their hosts: a cluster may have thousands that are about none of ours."""

    def __init__(self, existing: Iterable[Mapping[str, Any]], gateway: MeshGateway) -> None:
        """`existing` as for `settled`."""
        self._routed: dict[tuple[str, str], list[Theirs]] = {}
        """By kind, and host or pattern."""
        for raw in existing:
            for each in _others(raw, gateway):
                for host in dict.fromkeys(each.hosts):
                    self._routed.setdefault((each.kind, host), []).append(each)

    def of_host(self, kind: str, host: str) -> Sequence[Theirs]:
        """Those that name it."""
        return self._routed.get((kind, host), ())

    def of_patterns(self, kind: str, host: str) -> Iterator[tuple[str, Theirs]]:
        """Those that mean it among others, each with its pattern."""
        for start in range(len(host) + 1):
            pattern = f"*{host[start:]}"
            yield from ((pattern, each) for each in self._routed.get((kind, pattern), ()))

    def about(self, hosts: Iterable[str]) -> tuple[Theirs, ...]:
        """All that is about any of these, in an order that does not change."""
        found: dict[tuple[str, str, str], Theirs] = {}
        for host in hosts:
            for kind in KINDS_IN_CONFLICT:
                for each in (*self.of_host(kind, host), *(other for _, other in self.of_patterns(kind, host))):
                    found[each.kind, each.namespace, each.name] = each
        return tuple(found[key] for key in sorted(found))


def settled(objects: Sequence[IstioObject], existing: Iterable[Mapping[str, Any]], gateway: MeshGateway) -> Settled:
    """The objects without those that somebody else's stand in the way of.

    `existing` are ServiceEntries and VirtualServices as the API returns them; ours are among them. Where somebody else
    routes a host, nothing of ours is written for it; where somebody else has made it known, theirs is used. What is for
    the pods of its own namespace alone takes nothing from all others.
    """
    theirs = OthersByHost(existing, gateway)
    conflicts: list[Conflict] = []
    notes: list[str] = []
    left_out: set[tuple[str, str]] = set()
    taken: dict[str, tuple[str, ...]] = {}
    """Hosts of Providers' clusters that somebody else has made lead elsewhere, and the Providers."""
    for ours in objects:
        compared = ours.kind in KINDS_IN_CONFLICT and "mesh" in ours.spec.get("gateways", ("mesh",))
        for host in ours.spec["hosts"] if compared else ():
            for other in theirs.of_host(ours.kind, host):
                if not _overlap(ours, other):
                    continue
                if is_provider_host(host):
                    conflicts.append(_taken(host, ours, other))
                    taken[host] = ours.providers
                elif _is_apart(ours, other, gateway):
                    notes.append(
                        f"{other.kind} {other.shown} is about {host}, too, and counts in {_named(other)} alone: there "
                        "as it is, and ours everywhere else"
                    )
                else:
                    conflicts.append(_conflict(host, ours, other, objects))
                    left_out |= {(kind, host) for kind in _give_way(ours.kind)}
            for pattern, other in theirs.of_patterns(ours.kind, host) if ours.kind == "VirtualService" else ():
                if host not in other.hosts and _overlap(ours, other):
                    notes.append(
                        f"VirtualService {other.shown} routes {pattern} and gets nothing more of what is sent to "
                        f"{host}, as Istio takes the more precise name"
                    )
    kept = tuple(
        each
        for each in objects
        if not any((_decisive(each.kind), h) in left_out for h in each.hosts) and not _leads_to(each, taken)
    )
    return Settled(kept, tuple(conflicts), tuple(notes))


def _decisive(kind: str) -> str:
    """The kind with which it stays or goes."""
    return "VirtualService" if kind == "Gateway" else kind


def _leads_to(of: IstioObject, taken: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether it is about one of these clusters, or gives one its Provider's key, or routes."""
    if of.kind == "EnvoyFilter":
        return bool(of.providers) and of.providers in taken.values()
    return any(host in taken for host in (*of.spec.get("hosts", ()), of.spec.get("host")))


def _taken(host: str, ours: IstioObject, other: Theirs) -> Conflict:
    """The cluster's requests carry the Provider's key, so nobody else may say where they go."""
    message = (
        f"ServiceEntry {other.shown} says where it is, which is for Limpet alone, so sidecars are not told of this "
        "Provider and the gateway serves its requests; remove it there"
    )
    return Conflict(host, other.kind, other.shown, ours.providers, message)


def _is_apart(ours: IstioObject, other: Theirs, gateway: MeshGateway) -> bool:
    """Whether both can be there: theirs is not for all whom ours is for.

    Who may write in one namespace alone must not take a host from all others. A namespace that was named to us is
    another matter: its sidecars are told to ask about the host.
    """
    if other.kind == "ServiceEntry":
        return EVERYWHERE not in other.seen_in and not _seen_in(ours.namespace, ours.spec) <= other.seen_in
    return (
        EVERYWHERE in gateway.export_to
        and other.seen_in == {other.namespace}
        and other.namespace not in (*gateway.export_to, gateway.namespace)
    )


def _named(other: Theirs) -> str:
    return f"namespace{'s' if len(other.seen_in) > 1 else ''} {', '.join(sorted(other.seen_in))}"


def _seen_in(namespace: str, spec: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(namespace if each == "." else each for each in spec.get("exportTo") or (EVERYWHERE,))


def _give_way(kind: str) -> Sequence[str]:
    return KINDS_IN_CONFLICT if kind == "VirtualService" else (kind,)


def _others(raw: Mapping[str, Any], gateway: MeshGateway) -> Iterator[Theirs]:
    kind, metadata, spec = raw.get("kind"), raw.get("metadata") or {}, raw.get("spec") or {}
    if kind not in KINDS_IN_CONFLICT or _is_ours(metadata, gateway):
        return
    if kind == "VirtualService" and "mesh" not in (spec.get("gateways") or ["mesh"]):
        return  # It is about what comes in through a gateway of Istio's.
    namespace = metadata.get("namespace") or "default"
    hosts = tuple(_whole(str(host), namespace, gateway) for host in spec.get("hosts") or ())
    yield Theirs(kind, namespace, metadata.get("name", ""), hosts, spec)


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


def _overlap(ours: IstioObject, other: Theirs) -> bool:
    """Whether some namespace sees both."""
    mine, yours = _seen_in(ours.namespace, ours.spec), other.seen_in
    return EVERYWHERE in mine | yours or bool(mine & yours)


def _conflict(host: str, ours: IstioObject, other: Theirs, objects: Sequence[IstioObject]) -> Conflict:
    if other.kind == "VirtualService":
        message = (
            f"VirtualService {other.shown} routes it already, so nothing is written for it; remove this host there, "
            "or send what it routes to the gateway by a route of its own"
        )
    else:
        message = f"ServiceEntry {other.shown} makes it known already and is used as it is{_lacking(ours, other)}"
    providers = next((each.providers for each in objects if each.kind == ours.kind and host in each.spec["hosts"]), ())
    return Conflict(host, other.kind, other.shown, providers, message)


def _lacking(ours: IstioObject, other: Theirs) -> str:
    """What theirs does not say of the host, so that it can't be routed."""
    said = {(port.get("number"), port.get("protocol")) for port in other.spec.get("ports") or ()}
    same = {"TLS": ("TLS", "HTTPS"), "HTTP": ("HTTP",), "TCP": ("TCP",)}
    lacking = [
        f"{port['number']} ({port['protocol']})"
        for port in ours.spec["ports"]
        if not any((port["number"], protocol) in said for protocol in same[port["protocol"]])
    ]
    return f"; it lacks port {', '.join(lacking)}, whose requests so stay as they are" if lacking else ""
