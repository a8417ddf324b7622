"""The second stream between a worker and the operator: the health of providers, apart from what may be decided by.

Workers beside one Envoy tell each other what they see; what workers beside other Envoys need to know goes up this
stream and down theirs. Probes take the same way: the operator decides when and what, a worker sends the request
through the Envoy beside it, so that a probe takes the way of every request. Nothing here is needed to route:
without this stream a worker judges by what its own gateway sees.
"""

from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from limpet_extproc.contract.attempt import Cause
from limpet_extproc.contract.catalog import UNREADABLE, ContractMismatch

HEALTH_METHOD: Final = "/limpet.v1.ControlPlane/Health"
"""The gRPC method: the worker streams `HealthHello` once, then `Observed` and `ProbeAnswer`; the operator streams
`Relayed`, `ProbeVerdicts` and `ProbeRequest`."""

Verdict = Literal["Up", "Degraded", "Limited", "Down"]
"""How a provider, or a model there, is doing; each is worse than the one before."""

VERDICTS: Final[tuple[Verdict, ...]] = ("Up", "Degraded", "Limited", "Down")

MAX_ANSWER_BYTES: Final = 64 * 1024
"""Of a probed provider's answer that are read."""

BoundedCount: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e10)]
"""A length of time, or Unix seconds. A message with a number that cannot be meant is none."""

TIMEOUT: Final = "timeout"
"""As the failure of a probe: no answer came in its time."""
HEAD_TOO_LARGE: Final = "head too large"
"""As the failure of a probe: status and headers were more than any answer needs."""
NOT_SENT: Final = "not sent: "
"""Begins the failure of a probe that did not get as far as Envoy's cluster, so it says nothing of the provider."""


class HealthHello(msgspec.Struct, frozen=True, tag=True):
    """The worker's first message. `node` is the Envoy beside it."""

    node: str


class Observed(msgspec.Struct, frozen=True, tag=True):
    """What this worker has seen itself and workers beside other Envoys need to know. The operator passes it on."""

    events: msgspec.Raw
    """In the workers' own words (`limpet_extproc.providers.events`), without times: they take effect on arrival."""


class ProbeAnswer(msgspec.Struct, frozen=True, tag=True):
    """What became of a `ProbeRequest`."""

    id: BoundedCount
    status: BoundedCount = 0
    """0: there was no answer in time, or no way to send the request."""
    content_type: str = ""
    retry_after: str = ""
    body: str = ""
    """At most MAX_ANSWER_BYTES; what is not UTF-8 is replaced."""
    failure: str = ""
    """Envoy's own words where it got no answer from the provider, TIMEOUT, HEAD_TOO_LARGE, or NOT_SENT and the reason;
    empty: it is the provider's answer."""
    seconds: Seconds = 0.0


HealthReport = HealthHello | Observed | ProbeAnswer


class Relayed(msgspec.Struct, frozen=True, tag=True):
    """`Observed` of a worker beside another Envoy."""

    events: msgspec.Raw


class Probed(msgspec.Struct, frozen=True, array_like=True):
    """The verdict of the probes of one provider, or of one model there."""

    provider: str
    verdict: Verdict
    cause: Cause = ""
    since_s: Seconds = 0.0
    """Unix seconds."""
    model: str = ""
    """Empty: the provider with all its models."""
    status: BoundedCount = 0
    """HTTP status of the answer that decided; 0: none."""
    message: str = ""
    """The provider's own, as in `attempt.Attempt`."""
    probes: tuple[str, ...] = ()
    """`namespace/name` of the HealthProbes behind it, the one that decided first."""
    good_age_s: float | None = None
    """How long ago the newest probe was sent, if it is Up and the last of each HealthProbe was good. As old as when
    this was published."""


class ProbeVerdicts(msgspec.Struct, frozen=True, tag=True):
    """The verdicts of all probes; replaces the ones before. A provider that is not probed is not among them."""

    probed: tuple[Probed, ...]
    valid_s: Seconds = 0.0
    """How long they hold without being repeated: an operator that is gone must not keep a provider down."""


class ProbeRequest(msgspec.Struct, frozen=True, tag=True):
    """Send this to the provider through the Envoy beside you."""

    id: BoundedCount
    provider: str
    method: Literal["GET", "POST"]
    path: str
    """After the provider's own prefix, such as `/models`."""
    body: str = ""
    timeout_s: Seconds = 5.0


HealthOrder = Relayed | ProbeVerdicts | ProbeRequest

_ENCODER: Final = msgspec.json.Encoder()
_REPORT: Final[msgspec.json.Decoder[HealthReport]] = msgspec.json.Decoder(HealthReport)
_ORDER: Final[msgspec.json.Decoder[HealthOrder]] = msgspec.json.Decoder(HealthOrder)


def encode(message: HealthReport | HealthOrder) -> bytes:
    """The bytes that travel."""
    return _ENCODER.encode(message)


def decode_report(data: bytes) -> HealthReport:
    """A worker's message. Raises ContractMismatch for bytes that are none."""
    try:
        return _REPORT.decode(data)
    except UNREADABLE as error:
        raise ContractMismatch(f"not a message of the health stream: {error}") from error


def decode_order(data: bytes) -> HealthOrder:
    """The operator's message. Raises ContractMismatch for bytes that are none."""
    try:
        return _ORDER.decode(data)
    except UNREADABLE as error:
        raise ContractMismatch(f"not a message of the health stream: {error}") from error
