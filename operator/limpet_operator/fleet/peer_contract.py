"""What replicas of the operator tell each other: message types, a version, and how they are written down.

Each side of a stream says `Peer` first, then `Told` whenever there is news, and answers each `Told` of the other side
with `Took`. Only what changed travels: versions are short hashes and names are short, so a thousand providers of a
dozen Envoys are some hundred kilobytes once and a few bytes for each change after that.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from limpet_operator.fleet.acks import GatewayState
from limpet_operator.fleet.traffic import Summary

PEER_VERSION: Final = 1
"""Raised when a field changes its meaning or a new one must be understood; optional additions leave it as it is."""

PEER_METHOD: Final = "/limpet.v1.Peers/Meet"
"""The one gRPC method; raw bytes both ways."""


class PeerMismatch(Exception):  # noqa: N818 (says what happened)
    """The other replica speaks another version, or not this protocol at all; the message says which."""


class Peer(msgspec.Struct, frozen=True, tag=True):
    """Each side's first word."""

    instance: str
    """A name that no other process has; who meets their own name is talking to themselves."""
    version: int = PEER_VERSION


class NodeChange(msgspec.Struct, frozen=True):
    """How one Envoy's state differs from what was told last; an unknown node begins with nothing."""

    node: str
    clusters: dict[str, str] = {}
    without: tuple[str, ...] = ()
    rejected: dict[str, str] | None = None
    """All that it refuses now; None: as before."""


class Told(msgspec.Struct, frozen=True, tag=True):
    """What differs from the message before, about the teller's own Envoys and workers."""

    seq: int
    nodes: tuple[NodeChange, ...] = ()
    gone: tuple[str, ...] = ()
    """Envoys that are no longer connected there."""
    leaving: tuple[str, ...] = ()
    """All providers that are about to be taken away from these Envoys; no worker may be told of them any more."""
    traffic: dict[str, Summary] = {}
    quiet: tuple[str, ...] = ()
    """Providers of which its workers no longer know anything."""


class Took(msgspec.Struct, frozen=True, tag=True):
    """The answer to `Told`, and again whenever `still` changes."""

    seq: int
    still: tuple[str, ...] = ()
    """Those of `leaving` by which a worker here, beside one of the teller's Envoys, may still decide."""


Message = Peer | Told | Took
_ENCODER = msgspec.json.Encoder()
_DECODER: Final[msgspec.json.Decoder[Message]] = msgspec.json.Decoder(Message)


def encode(message: Message) -> bytes:
    """The bytes that travel."""
    return _ENCODER.encode(message)


def decode(data: bytes) -> Message:
    """What a peer said. Raises PeerMismatch for a `Peer` of another version or bytes that are no message."""
    try:
        message = _DECODER.decode(data)
    except msgspec.MsgspecError as error:
        raise PeerMismatch(f"not a message of peer version {PEER_VERSION}: {error}") from error
    if isinstance(message, Peer) and message.version != PEER_VERSION:
        raise PeerMismatch(
            f"the other replica speaks peer version {message.version}, this one {PEER_VERSION}; "
            "they will understand each other when all replicas run the same Limpet version"
        )
    return message


def difference(before: GatewayState | None, now: GatewayState) -> NodeChange:
    """What is to be told of a node of which `before` was told."""
    clusters: Mapping[str, str] = before.clusters if before else {}
    rejected: Mapping[str, str] = before.rejected if before else {}
    return NodeChange(
        now.node,
        {name: version for name, version in now.clusters.items() if clusters.get(name) != version},
        tuple(name for name in clusters if name not in now.clusters),
        None if rejected == now.rejected else dict(now.rejected),
    )


def applied(before: GatewayState | None, change: NodeChange) -> GatewayState:
    """What the teller knows of the node now."""
    clusters = dict(before.clusters) if before else {}
    for name in change.without:
        clusters.pop(name, None)
    clusters.update(change.clusters)
    kept: Mapping[str, str] = before.rejected if before else {}
    return GatewayState(change.node, clusters, kept if change.rejected is None else change.rejected)
