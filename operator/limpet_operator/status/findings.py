"""What is to be said of an object right now, aspect by aspect: the contents of its conditions, without their history.

Verdicts come from the plan, the state of the gateways and of traffic from the fleet. Pure. docs/conditions.md lists
every reason with what to do about it.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final, Literal, NamedTuple

from limpet_operator.fleet.acks import GatewayState, Traffic
from limpet_operator.planning.plan import Condition, Verdict
from limpet_operator.resources.durations import format_duration
from limpet_operator.resources.pricing import Pricing

Truth = Literal["True", "False", "Unknown"]
ProgrammedReason = Literal["Programmed", "Pending", "NoGateway", "Rejected", "NotAccepted", "RefsNotResolved"]
HealthyReason = Literal[
    "TrafficOK",
    "Failing",
    "OverLimit",
    "CredentialRefused",
    "NoCredit",
    "ModelNotFound",
    "Redirected",
    "NoTraffic",
    "NotProgrammed",
]
EffectiveReason = Literal["Effective", "NotAccepted"]
"""And the reasons of `effects`."""
FreshReason = Literal["Fresh", "Stale", "NoLimit", "NoDate", "DateInFuture", "NotAccepted"]

LESS_KNOWN: Final = frozenset({"Pending", "NoGateway", "NoTraffic"})
"""Reasons that may only mean that we, or an Envoy, have not been told yet."""


class Finding(NamedTuple):
    """One aspect; the message says what to do, or why nothing needs to be done."""

    type: str
    status: Truth
    reason: str
    message: str


def accepted(verdict: Verdict) -> Finding:
    """Whether the object is used as it is written."""
    return _of("Accepted", verdict.accepted, "it is used as it is written")


def resolved_refs(verdict: Verdict) -> Finding:
    """Whether what it refers to is there; of an object that can't be read nobody knows."""
    if verdict.resolved_refs.reason == "Invalid":
        return Finding("ResolvedRefs", "Unknown", "Invalid", verdict.resolved_refs.message)
    return _of("ResolvedRefs", verdict.resolved_refs, "all that it refers to is there")


def effective(verdict: Verdict) -> Finding:
    """Whether all that it says makes a difference in this version; the first reason is named, and every message."""
    if not verdict.accepted.ok:
        return _effective("Unknown", "NotAccepted", "it is looked at once it is accepted")
    if not verdict.notes:
        return _effective("True", "Effective", "all that it says takes effect")
    return Finding("Effective", "False", verdict.notes[0].reason, "; ".join(note.message for note in verdict.notes))


def programmed(name: str, verdict: Verdict, published: str | None, gateways: Iterable[GatewayState]) -> Finding:
    """Whether every connected Envoy serves the provider in the version that is `published` now."""
    if not verdict.accepted.ok:
        return _not_programmed("NotAccepted", "it is left out until it is accepted; see the condition Accepted")
    if not verdict.resolved_refs.ok:
        return _not_programmed("RefsNotResolved", "it is left out until the condition ResolvedRefs is True")
    total = have = 0
    refusals: dict[str, str] = {}
    for gateway in gateways:
        total += 1
        if published is not None and gateway.clusters.get(name) == published:
            have += 1
        elif name in gateway.rejected:
            refusals[gateway.node] = gateway.rejected[name]
    if refusals:
        node, words = min(refusals.items())
        kept = "what it had before goes on serving"
        return _not_programmed("Rejected", f"Envoy {node} refuses it, {kept}; correct spec: {words}")
    if total == 0:
        return _not_programmed("NoGateway", "no gateway is connected; see whether the gateway pods are ready")
    if have < total:
        message = f"{have} of {total} gateways {'has' if have == 1 else 'have'} it; wait, or look at the others' logs"
        return _not_programmed("Pending", message)
    return Finding("Programmed", "True", "Programmed", f"{_gateways(total)} it")


def healthy(verdict: Verdict, traffic: Traffic | None) -> Finding:
    """Whether requests are answered there, as far as requests went there."""
    if not verdict.ok:
        return Finding("Healthy", "Unknown", "NotProgrammed", "nothing is sent there; see the other conditions")
    if traffic is None:
        return Finding("Healthy", "Unknown", "NoTraffic", "no request has gone there yet; nothing is to be done")
    if (told := _to_be_settled(traffic)) is not None:
        return told
    if traffic.verdict == "up":
        return Finding("Healthy", "True", "TrafficOK", "the last requests were answered")
    heard = answered(traffic.cause, traffic.status, traffic.says)
    if traffic.reason == "over_limit":
        told_us = f"it asked us to wait ({heard or 'it answered 429'}), others take its requests"
        return _unhealthy("OverLimit", f"{told_us}; ask the vendor for a higher limit, or lower spec.weight")
    failed = f"requests failed several times in a row, the last with {heard}" if heard else _FAILED
    advice = "see whether the host of spec.url resolves and answers, and look at the vendor's status page"
    return _unhealthy("Failing", f"{failed}; it is asked last, and tried again by and by; {advice}")


_FAILED: Final = "requests failed several times in a row"


def _to_be_settled(traffic: Traffic) -> Finding | None:
    """What a person has to change, in the provider's own words; such an answer counts even while others are well."""
    heard = answered("", traffic.status, traffic.says)
    match traffic.cause:
        case "CredentialRefused":
            return _unhealthy(
                "CredentialRefused", f"it refuses the API key: {heard}; correct what spec.credential names"
            )
        case "NoCredit":
            return _unhealthy("NoCredit", f"the account has no credit: {heard}; pay, or take the Provider out")
        case "ModelNotFound":
            advice = "correct upstreamName in spec.models, or the path of spec.url"
            return _unhealthy(
                "ModelNotFound", f"it does not know a model or path that was asked for: {heard}; {advice}"
            )
        case "Redirected":
            advice = "write the address that it points to into spec.url, mostly https:// for http://"
            return _unhealthy("Redirected", f"it answers by pointing elsewhere: {heard}; {advice}")
        case _:
            return None


def answered(cause: str, status: int, says: str) -> str:
    """An answer as a message tells it: status and the provider's own words, or the cause where there are neither."""
    number = str(status) if status else ""
    words = f'"{says}"' if says else ""
    return " ".join(part for part in (number, words) if part) or cause


def verdict_of_health(finding: Finding) -> Literal["Up", "Degraded", "Down", "Unknown"]:
    """The word for it in `status.health`."""
    if finding.reason == "ModelNotFound":
        return "Degraded"
    return "Up" if finding.status == "True" else "Down" if finding.status == "False" else "Unknown"


def fresh(pricing: Pricing | None, now: datetime) -> Finding:
    """Whether the price list was read lately enough; stale prices are used all the same. None: it is not valid."""
    if pricing is None:
        return _fresh("Unknown", "NotAccepted", "its age is looked at once it is accepted")
    read = retrieved(pricing)
    if read is None:
        return _fresh("Unknown", "NoDate", "nobody knows how old these prices are; write spec.source.retrieved")
    day = f"{read:%Y-%m-%d}"
    # Where the day begins first it is up to 14 hours ahead of UTC.
    if read > now + timedelta(hours=14):
        return _fresh("Unknown", "DateInFuture", f"spec.source.retrieved, {day}, is still to come; correct it")
    if pricing.stale_after_s is None:
        return _fresh("True", "NoLimit", f"read on {day}; write spec.staleAfter to be told when that is too long ago")
    limit = format_duration(pricing.stale_after_s)
    if now < read + timedelta(seconds=pricing.stale_after_s):
        return _fresh("True", "Fresh", f"read on {day}, and good for {limit}")
    advice = "read the price list again and write its day into spec.source.retrieved; the prices are used meanwhile"
    return _fresh("False", "Stale", f"read on {day}, more than {limit} ago; {advice}")


def turns_stale(pricing: Pricing) -> datetime | None:
    """When `fresh` will say something else by itself; None: never."""
    read = retrieved(pricing)
    return None if read is None or pricing.stale_after_s is None else read + timedelta(seconds=pricing.stale_after_s)


def retrieved(pricing: Pricing) -> datetime | None:
    """The beginning, in UTC, of the day on which the prices were read; None: not said, or there is no such day."""
    if pricing.source is None or pricing.source.retrieved is None:
        return None
    try:
        return datetime.fromisoformat(pricing.source.retrieved).replace(tzinfo=UTC)
    except ValueError:
        return None


def _of(name: str, condition: Condition, fine: str) -> Finding:
    return Finding(name, "True" if condition.ok else "False", condition.reason, condition.message or fine)


def _not_programmed(reason: ProgrammedReason, message: str) -> Finding:
    return Finding("Programmed", "False", reason, message)


def _effective(status: Truth, reason: EffectiveReason, message: str) -> Finding:
    return Finding("Effective", status, reason, message)


def _unhealthy(reason: HealthyReason, message: str) -> Finding:
    return Finding("Healthy", "False", reason, message)


def _fresh(status: Truth, reason: FreshReason, message: str) -> Finding:
    return Finding("Fresh", status, reason, message)


def _gateways(count: int) -> str:
    return "the one gateway serves" if count == 1 else f"all {count} gateways serve"
