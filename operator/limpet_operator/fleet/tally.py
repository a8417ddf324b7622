"""From the evidence of single workers to the state of a provider, or of one model there. Pure; tallies can be joined.

It is out when at least one worker has it out and no worker has had an answer since: since that worker took it out, and
not half a minute longer ago than the failure which keeps it out now. It is degraded as long as a worker finds it so:
answers do come then, and show nothing to the contrary. Times are from the workers' own clocks: if those differ by
seconds, so may the result.
"""

from collections.abc import Iterable
from functools import reduce
from typing import Final, Literal

import msgspec

from limpet_extproc.contract.catalog import Evidence, ModelEvidence
from limpet_operator.fleet.view import TrafficState

OUTWEIGHED_S: Final = 30.0
"""An answer that is this much older than a failure no longer counts. Far above the two seconds after which a worker
reports new answers, so that one worker's failing trials do not count while others get answers."""

_NO_WORDS: Final = ("", 0, "")


class Tally(msgspec.Struct, frozen=True, array_like=True):
    """Some workers' evidence about one provider, or about one model there; Unix seconds, 0: never."""

    answering: int = 0
    """Workers that do not have it out."""
    success_s: float = 0.0
    up_since_s: float = 0.0
    """The first of those that have it up."""
    objection_s: float = 0.0
    """An answer before this does not count."""
    out_since_s: float = 0.0
    """The first of those that have it out."""
    out: Literal["", "over_limit", "down"] = ""
    """Of the newest objection."""
    words: tuple[str, int, str] = _NO_WORDS
    """Cause, status and the provider's own words. Of several the greatest, so that it does not flap."""
    words_s: float = 0.0
    """When the provider last sent any of those."""
    degraded_since_s: float = 0.0
    """The first of those that find it degraded."""
    degraded_words: tuple[str, int, str] = _NO_WORDS
    """In what way; of several the greatest."""


NO_EVIDENCE: Final = Tally()


def tally(evidence: Evidence | ModelEvidence) -> Tally:
    """The evidence of one worker."""
    words = (evidence.cause, evidence.status, evidence.message)
    match evidence.trouble:
        case None:
            return Tally(1, evidence.success_s, evidence.since_s, words=words, words_s=evidence.cause_s)
        case "degraded":
            return Tally(1, evidence.success_s, degraded_since_s=evidence.since_s, degraded_words=words)
        case out:
            return Tally(
                success_s=evidence.success_s,
                objection_s=max(evidence.since_s, evidence.failure_s - OUTWEIGHED_S),
                out_since_s=evidence.since_s,
                out=out,
                words=words,
                words_s=evidence.cause_s,
            )


def joined(tallies: Iterable[Tally]) -> Tally:
    """One tally of all."""
    return reduce(_joined, tallies, NO_EVIDENCE)


def _joined(one: Tally, other: Tally) -> Tally:
    # The name decides between equal times, so that all replicas agree.
    newest = max(one, other, key=lambda each: (each.objection_s, each.out))
    return Tally(
        one.answering + other.answering,
        max(one.success_s, other.success_s),
        _first(one.up_since_s, other.up_since_s),
        newest.objection_s,
        _first(one.out_since_s, other.out_since_s),
        newest.out,
        max(one.words, other.words),
        max(one.words_s, other.words_s),
        _first(one.degraded_since_s, other.degraded_since_s),
        max(one.degraded_words, other.degraded_words),
    )


def _first(one_s: float, other_s: float) -> float:
    return min(one_s, other_s) if one_s and other_s else one_s or other_s


def state(everywhere: Tally) -> TrafficState | None:
    """What the evidence of all workers comes to; None: there is none."""
    if everywhere.out and (not everywhere.answering or everywhere.success_s <= everywhere.objection_s):
        return TrafficState(everywhere.out, everywhere.out_since_s, *everywhere.words)
    if not everywhere.answering:
        return None
    words = everywhere.words
    if everywhere.success_s > everywhere.words_s:
        words = _NO_WORDS
    if everywhere.degraded_since_s:
        return TrafficState(
            "degraded", everywhere.degraded_since_s, *(words if words[0] else everywhere.degraded_words)
        )
    if not everywhere.success_s and not words[0]:
        return None
    return TrafficState(None, everywhere.up_since_s, *words)
