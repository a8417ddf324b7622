"""Findings about an object that depend on the fleet or on the time, besides those of the plan. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from limpet_operator.fleet.view import GatewayState, Traffic
from limpet_operator.planning.finding import (
    EffectiveReason,
    Finding,
    FreshReason,
    ObjectFindings,
    ProgrammedReason,
    Truth,
)
from limpet_operator.resources.durations import format_duration
from limpet_operator.resources.pricing import Pricing
from limpet_operator.resources.provider import Provider

LESS_KNOWN: Final = frozenset({"Pending", "NoGateway", "NoTraffic", "ConversationsUnknown"})
"""Reasons that may only mean that this replica, or an Envoy, does not have the information yet."""

AHEAD_OF_UTC: Final = timedelta(hours=14)
"""Where the day begins first; so much earlier than in UTC it is that day somewhere."""


def effective(planned: ObjectFindings) -> Finding:
    """Whether all of its fields have an effect in this version; with the first reason and every message."""
    if not planned.accepted.ok:
        return _effective("Unknown", "NotAccepted", "checked once the object is accepted")
    if not planned.notes:
        return _effective("True", "Effective", "all of it takes effect")
    return Finding("Effective", "False", planned.notes[0].reason, "; ".join(note.message for note in planned.notes))


def programmed(name: str, planned: ObjectFindings, published: str | None, gateways: Iterable[GatewayState]) -> Finding:
    """Whether every connected Envoy serves the provider in the version that is `published` now."""
    if not planned.accepted.ok:
        return _not_programmed("NotAccepted", "it is left out until it is accepted; see the condition Accepted")
    if not planned.resolved_refs.ok:
        return _not_programmed("RefsNotResolved", "it is left out until the condition ResolvedRefs is True")
    total = have = 0
    refusals: dict[str, str] = {}
    for gateway in gateways:
        total += 1
        if published is not None and gateway.clusters.get(name) == published:
            have += 1
        elif name in gateway.rejected:
            refusals[gateway.name] = gateway.rejected[name]
    if refusals:
        node, words = min(refusals.items())
        message = f"Envoy {node} rejects it, and the previous version stays in service; correct spec: {words}"
        return _not_programmed("Rejected", message)
    if total == 0:
        return _not_programmed("NoGateway", "no gateway is connected; check whether the gateway pods are ready")
    if have < total:
        message = f"{have} of {total} gateways {'has' if have == 1 else 'have'} it; wait, or check the others' logs"
        return _not_programmed("Pending", message)
    return Finding("Programmed", "True", "Programmed", f"{_gateways(total)} it")


def short_timeouts(spec: Provider) -> str:
    """Which timeouts of a Provider are shorter than they would be by default, and what to do; empty: none is."""
    here, usual = spec.timeouts, spec.usual_timeouts
    fields = (
        ("firstByte", here.first_byte_s, usual.first_byte_s),
        ("unstreamed", here.unstreamed_s, usual.unstreamed_s),
        ("idle", here.idle_s, usual.idle_s),
    )
    shorter = [
        f"timeouts.{field} is {format_duration(set_s)}, and for {spec.vendor} {format_duration(usual_s)} by default"
        for field, set_s, usual_s in fields
        if set_s < usual_s
    ]
    return f"{'; '.join(shorter)}; remove it, or allow more time" if shorter else ""


def drained(traffic: Traffic | None) -> Finding:
    """Whether a provider that is draining can be removed without the loss of a warm conversation."""
    if traffic is None:
        message = "no worker has reported its conversations yet; wait for that before you remove it"
        return Finding("Drained", "Unknown", "ConversationsUnknown", message)
    if left := traffic.warm_conversations:
        about = "one conversation is" if left == 1 else f"about {left} conversations are"
        message = f"{about} warm there and {'stays' if left == 1 else 'stay'}; new ones go to other providers"
        return Finding("Drained", "False", "ConversationsLeft", message)
    return Finding("Drained", "True", "Drained", "no conversation is warm there any more; it can be removed")


def fresh(pricing: Pricing | None, now: datetime) -> Finding:
    """Whether the price list was read recently enough; stale prices are still used. None: the object is not valid."""
    if pricing is None:
        return _fresh("Unknown", "NotAccepted", "checked once the object is accepted")
    read = pricing.read_on
    if read is None:
        given = pricing.source.retrieved if pricing.source is not None else None
        advice = f"spec.source.retrieved, {given}, is no date; correct it" if given else "set spec.source.retrieved"
        return _fresh("Unknown", "NoDate", f"the age of these prices is unknown; {advice}")
    day = f"{read:%Y-%m-%d}"
    if read > now + AHEAD_OF_UTC:
        return _fresh("Unknown", "DateInFuture", f"spec.source.retrieved, {day}, is in the future; correct it")
    if pricing.stale_after_s is None or pricing.stale_at is None:
        return _fresh("True", "NoLimit", f"read on {day}; set spec.staleAfter to learn when the prices are old")
    limit = format_duration(pricing.stale_after_s)
    if now < pricing.stale_at:
        return _fresh("True", "Fresh", f"read on {day}, valid for {limit}")
    advice = "read the price list again and set spec.source.retrieved to that date; until then these prices are used"
    return _fresh("False", "Stale", f"read on {day}, more than {limit} ago; {advice}")


def _not_programmed(reason: ProgrammedReason, message: str) -> Finding:
    return Finding("Programmed", "False", reason, message)


def _effective(status: Truth, reason: EffectiveReason, message: str) -> Finding:
    return Finding("Effective", status, reason, message)


def _fresh(status: Truth, reason: FreshReason, message: str) -> Finding:
    return Finding("Fresh", status, reason, message)


def _gateways(count: int) -> str:
    return "the one gateway serves" if count == 1 else f"all {count} gateways serve"
