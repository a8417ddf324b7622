"""A finding: one aspect of an object, from the check that made it to the condition that shows it.

Every reason that a condition can have is listed here, and explained in docs/conditions.md.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Truth = Literal["True", "False", "Unknown"]
ConditionType = Literal[
    "Accepted", "ResolvedRefs", "Effective", "Programmed", "Healthy", "Meshed", "Drained", "Probing", "Fresh"
]

AcceptedReason = Literal["Accepted", "Invalid", "Conflicted", "NotPermitted", "ServesNothing"]
ResolvedRefsReason = Literal[
    "ResolvedRefs",
    "Invalid",
    "SecretNotFound",
    "SecretKeyNotFound",
    "SecretValueInvalid",
    "EnvVarNotSet",
    "CACertificateNotFound",
    "CACertificateInvalid",
    "ProviderNotFound",
    "ProviderNotAccepted",
    "ModelNotServed",
    "TimeZoneNotFound",
    "NothingSelected",
]
EffectiveReason = Literal[
    "Effective",
    "NoCompletions",
    "NotAPattern",
    "PlaceholderKey",
    "FieldWithoutEffect",
    "MatchesNothing",
    "NoUsualPrice",
    "PathRepeated",
    "PathWithoutVersion",
    "WindowCovered",
    "NotAccepted",
]
ProgrammedReason = Literal["Programmed", "Pending", "NoGateway", "Rejected", "NotAccepted", "RefsNotResolved"]
HealthyReason = Literal[
    "TrafficOK",
    "ProbeOK",
    "CredentialRefused",
    "NoCredit",
    "Forbidden",
    "ModelNotFound",
    "PathNotFound",
    "Redirected",
    "NameNotResolved",
    "TLSFailed",
    "ConnectionRefused",
    "ConnectionFailed",
    "Timeout",
    "TimeoutTooShort",
    "NotAnAnswer",
    "ErrorInAnswer",
    "Failing",
    "OverLimit",
    "ErrorRate",
    "SlowFirstByte",
    "SlowStream",
    "NoTraffic",
    "NotProgrammed",
]
MeshedReason = Literal[
    "Meshed", "Pending", "Conflicted", "NotTaken", "NotPermitted", "NoIstio", "NotRoutable", "NotAccepted"
]
DrainedReason = Literal["Drained", "ConversationsLeft", "ConversationsUnknown"]
ProbingReason = Literal["Probing", "ProbeRejected", "Pending", "NoGateway", "NotAccepted", "RefsNotResolved"]
FreshReason = Literal["Fresh", "NoLimit", "Stale", "NoDate", "DateInFuture", "NotAccepted"]
ConditionReason = (
    AcceptedReason
    | ResolvedRefsReason
    | EffectiveReason
    | ProgrammedReason
    | HealthyReason
    | MeshedReason
    | DrainedReason
    | ProbingReason
    | FreshReason
)


class Finding(NamedTuple):
    """What is to be said about one aspect; the message says what to do, or why there is nothing to do."""

    type: ConditionType
    status: Truth
    reason: ConditionReason
    message: str

    @property
    def ok(self) -> bool:
        """Whether the aspect is as it should be."""
        return self.status == "True"


USED: Final = "used as written"
ACCEPTED: Final = Finding("Accepted", "True", "Accepted", USED)
RESOLVED: Final = Finding("ResolvedRefs", "True", "ResolvedRefs", "everything it refers to exists")


def accepted(message: str) -> Finding:
    """The object is used, and there is more to say about how."""
    return Finding("Accepted", "True", "Accepted", f"{USED}; {message}")


def not_accepted(reason: AcceptedReason, message: str) -> Finding:
    """The object is left out."""
    return Finding("Accepted", "False", reason, message)


def unresolved(reason: ResolvedRefsReason, message: str) -> Finding:
    """A reference leads to nothing that can be used."""
    return Finding("ResolvedRefs", "False", reason, message)


def no_effect(reason: EffectiveReason, message: str) -> Finding:
    """A part of the object changes nothing; the rest of it is used."""
    return Finding("Effective", "False", reason, message)


@dataclass(frozen=True, slots=True)
class ObjectFindings:
    """What planning found about one object."""

    accepted: Finding = ACCEPTED
    resolved_refs: Finding = RESOLVED
    notes: tuple[Finding, ...] = ()
    """Parts of it that have no effect; nothing is wrong with the object."""

    @property
    def ok(self) -> bool:
        """Whether there is nothing to do."""
        return self.accepted.ok and self.resolved_refs.ok
