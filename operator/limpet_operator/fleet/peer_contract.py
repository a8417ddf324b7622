"""What replicas of the operator send each other: message types, a version, and their encoding.

Each side of a stream sends `PeerHello` first, then a `PeerUpdate` for every change, and acknowledges each update of the
other side with a `PeerAck`. Only changes travel: versions are short hashes and names are short, so a thousand providers
of a dozen Envoys are some hundred kilobytes once and a few bytes for each change after that. What is about the health
of providers (`PeerHealth`) is sent in between and not acknowledged.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from limpet_extproc.contract.catalog import UNREADABLE
from limpet_extproc.contract.health_stream import ProbeAnswer, ProbeRequest, ProbeVerdicts
from limpet_operator.fleet.traffic import Summary
from limpet_operator.fleet.view import GatewayState

PEER_VERSION: Final = 3
"""Raised when a field changes its meaning or a new one must be understood; optional additions leave it as it is."""

PEER_METHOD: Final = "/limpet.v1.Peers/Meet"
"""The one gRPC method; raw bytes both ways."""


class PeerMismatch(Exception):  # noqa: N818 (says what happened)
    """The other replica speaks another version, or not this protocol at all; the message says which."""


class PeerHello(msgspec.Struct, frozen=True, tag=True):
    """The first message of each side."""

    instance: str
    """A name that no other process has; a replica that receives its own is connected with itself."""
    version: int = PEER_VERSION


class GatewayChange(msgspec.Struct, frozen=True):
    """How one Envoy's state differs from what was sent last; an unknown one begins with nothing."""

    name: str
    clusters: dict[str, str] = {}
    removed: tuple[str, ...] = ()
    rejected: dict[str, str] | None = None
    """All that it refuses now; None: as before."""


class PeerUpdate(msgspec.Struct, frozen=True, tag=True):
    """What differs from the update before, about the sender's own Envoys and workers."""

    seq: int
    gateways: tuple[GatewayChange, ...] = ()
    disconnected: tuple[str, ...] = ()
    """Gateways whose Envoy is no longer connected there."""
    leaving: tuple[str, ...] = ()
    """All providers that are about to be taken away from these Envoys; no worker may be sent them any more."""
    traffic: dict[str, Summary] = {}
    without_traffic: tuple[str, ...] = ()
    """Providers of which its workers no longer know anything."""


class PeerAck(msgspec.Struct, frozen=True, tag=True):
    """Acknowledges a `PeerUpdate`; sent again whenever `still_in_use` changes."""

    seq: int
    still_in_use: tuple[str, ...] = ()
    """Those of `leaving` by which a worker here, beside one of the sender's Envoys, may still decide."""


class PeerObserved(msgspec.Struct, frozen=True, tag=True):
    """A worker of the sender, beside the Envoy `node`, reports this.

    It is for the receiver's workers beside other Envoys, and not passed on.
    """

    node: str
    events: msgspec.Raw
    """As in `health_stream.Observed`."""


class PeerVerdicts(msgspec.Struct, frozen=True, tag=True):
    """What the sender's probes have found; replaces what was told before, by whichever replica."""

    verdicts: ProbeVerdicts


class PeerProbe(msgspec.Struct, frozen=True, tag=True):
    """Have one of your workers send this."""

    id: int
    request: ProbeRequest
    gateway: str | None = None
    """Beside this Envoy; None: any."""


class PeerAnswer(msgspec.Struct, frozen=True, tag=True):
    """What became of the `PeerProbe` of this `id`."""

    id: int
    answer: ProbeAnswer | None
    """None: no worker could be asked, or none answered."""
    error: str = ""
    """Why not."""


PeerHealth = PeerObserved | PeerVerdicts | PeerProbe | PeerAnswer
"""What is about the health of providers."""

PeerMessage = PeerHello | PeerUpdate | PeerAck | PeerHealth
_ENCODER = msgspec.json.Encoder()
_DECODER: Final[msgspec.json.Decoder[PeerMessage]] = msgspec.json.Decoder(PeerMessage)


def encode(message: PeerMessage) -> bytes:
    """The bytes that travel."""
    return _ENCODER.encode(message)


def decode(data: bytes) -> PeerMessage:
    """A peer's message. Raises PeerMismatch for a `PeerHello` of another version or bytes that are no message."""
    try:
        message = _DECODER.decode(data)
    except UNREADABLE as error:
        raise PeerMismatch(
            f"not a message of peer version {PEER_VERSION}: {error}; all replicas must run the same Limpet version"
        ) from error
    if isinstance(message, PeerHello) and message.version != PEER_VERSION:
        raise PeerMismatch(
            f"the other replica speaks peer version {message.version}, this one {PEER_VERSION}; "
            "they will understand each other when all replicas run the same Limpet version"
        )
    return message


def difference(before: GatewayState | None, now: GatewayState) -> GatewayChange:
    """What to send of a gateway of which `before` was sent."""
    clusters: Mapping[str, str] = before.clusters if before else {}
    rejected: Mapping[str, str] = before.rejected if before else {}
    return GatewayChange(
        now.name,
        {name: version for name, version in now.clusters.items() if clusters.get(name) != version},
        tuple(name for name in clusters if name not in now.clusters),
        None if rejected == now.rejected else dict(now.rejected),
    )


def applied(before: GatewayState | None, change: GatewayChange) -> GatewayState:
    """The state that the sender has now."""
    clusters = dict(before.clusters) if before else {}
    for name in change.removed:
        clusters.pop(name, None)
    clusters.update(change.clusters)
    rejected: Mapping[str, str] = before.rejected if before else {}
    return GatewayState(change.name, clusters, rejected if change.rejected is None else change.rejected)
