"""What each Envoy has and refuses, across its streams to this replica, and what other replicas report. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Protocol

from limpet_operator.publish.resource import CLUSTER, ResourceKey

_MOST_DISCONNECTED: Final = 256
"""Envoys without a stream whose acknowledgements are kept for their return."""


@dataclass(frozen=True, slots=True)
class Nack:
    """An Envoy refuses this version of a resource, in its own words; what it had before goes on serving."""

    gateway: str
    type_url: str
    name: str
    version: str
    message: str


@dataclass(frozen=True, slots=True)
class VersionReport:
    """What a request of Envoy reports about versions; a version of "" is a removal."""

    type_url: str
    had: Mapping[str, str] | None = None
    """In the first request about this type: what Envoy brought along from an earlier stream."""
    accepted: Mapping[str, str] = field(default_factory=dict)
    rejected: Mapping[str, str] = field(default_factory=dict)
    message: str | None = None
    """Envoy's words: the response was rejected. None: it was not, or the request is to no response."""
    to_response: bool = False
    """Whether the request acknowledges or rejects a response."""


class PeerReports(Protocol):
    """What the other replicas report of their Envoys and workers."""

    def claims(self, gateway: str) -> Sequence[Mapping[str, str]]:
        """From each replica to which this Envoy is connected: its clusters, name -> version."""

    def agreed(self, names: AbstractSet[str]) -> bool:
        """Whether no worker of another replica, beside an Envoy of this one, decides by one of these providers."""


class NoPeers:
    """The PeerReports of a replica that is the only one."""

    def claims(self, _gateway: str) -> Sequence[Mapping[str, str]]:
        """None."""
        return ()

    def agreed(self, _names: AbstractSet[str]) -> bool:
        """True: there is no other worker."""
        return True


@dataclass(slots=True)
class _Envoy:
    acknowledged: dict[str, dict[str, str]] = field(default_factory=dict)
    nacks: dict[ResourceKey, Nack] = field(default_factory=dict)
    streams: int = 0


class Acknowledgements:
    """What the Envoys of this replica acknowledge, by the name that each gives as its xDS node."""

    def __init__(self) -> None:
        self._envoys: dict[str, _Envoy] = {}

    def acknowledged(self, gateway: str) -> Mapping[str, Mapping[str, str]] | None:
        """Type URL -> name -> version that this Envoy has; None: it never reported. Survives a broken stream."""
        envoy = self._envoys.get(gateway)
        return MappingProxyType(envoy.acknowledged) if envoy else None

    def connected(self, gateway: str) -> bool:
        """Whether this Envoy has a stream to us now."""
        envoy = self._envoys.get(gateway)
        return envoy is not None and envoy.streams > 0

    @property
    def connected_gateways(self) -> tuple[str, ...]:
        """The Envoys that have a stream to us now."""
        return tuple(name for name, envoy in self._envoys.items() if envoy.streams)

    def refused(self, gateway: str) -> Mapping[ResourceKey, Nack]:
        """What this Envoy refuses now."""
        envoy = self._envoys.get(gateway)
        return MappingProxyType(envoy.nacks) if envoy else {}

    def clusters(self, gateway: str, claims: Sequence[Mapping[str, str]] = ()) -> AbstractSet[str] | None:
        """The clusters that this Envoy has and keeps, wherever it is connected; None: unknown.

        `claims` are those of other replicas. An open stream counts more than a broken one; an Envoy that has
        acknowledged nothing yet is unknown.
        """
        envoy = self._envoys.get(gateway)
        ours = envoy.acknowledged.get(CLUSTER) if envoy else None
        if self.connected(gateway):
            if not ours:
                return None
            claims = [*claims, ours]
        if claims:
            return in_common(claims).keys()
        return ours.keys() if ours else None

    def stream_opened(self, gateway: str) -> None:
        """Count a stream of this Envoy."""
        self._envoys.setdefault(gateway, _Envoy()).streams += 1

    def stream_closed(self, gateway: str) -> None:
        """Count it no longer; what the Envoy acknowledged is kept for its return."""
        envoy = self._envoys.pop(gateway)
        envoy.streams -= 1
        self._envoys[gateway] = envoy  # Last in line to be forgotten.
        disconnected = [name for name, each in self._envoys.items() if not each.streams]
        for name in disconnected[: max(0, len(disconnected) - _MOST_DISCONNECTED)]:
            del self._envoys[name]

    def record(self, gateway: str, report: VersionReport) -> list[Nack]:
        """Take in a request of this Envoy; returns what it newly refuses."""
        envoy = self._envoys[gateway]
        acknowledged = envoy.acknowledged.setdefault(report.type_url, {})
        if report.had is not None and not report.had:
            acknowledged.clear()  # A new Envoy process, which has nothing of what its predecessor had.
        # Envoy does not bring along what it took from a response that it rejected in part: this adds, never replaces.
        acknowledged.update(report.had or {})
        for name, version in report.accepted.items():
            if version:
                acknowledged[name] = version
            envoy.nacks.pop((report.type_url, name), None)
        if report.message is None:
            return []
        nacks = [
            Nack(gateway, report.type_url, name, version, report.message) for name, version in report.rejected.items()
        ]
        envoy.nacks.update({(nack.type_url, nack.name): nack for nack in nacks})
        return nacks

    def withdraw(self, gateway: str, type_url: str, names: Iterable[str]) -> None:
        """A removal counts from when it is sent: until its ACK it is open whether Envoy still has the resource."""
        envoy = self._envoys[gateway]
        for name in names:
            envoy.acknowledged.get(type_url, {}).pop(name, None)
            envoy.nacks.pop((type_url, name), None)


def in_common(claims: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """What an Envoy certainly has if several replicas claim it; one of them has not noticed its leaving.

    Name -> version; "" where they report different versions, which is no version at all.
    """
    first, *others = claims
    if not others:
        return dict(first)
    return {
        name: version if all(other[name] == version for other in others) else ""
        for name, version in first.items()
        if all(name in other for other in others)
    }
