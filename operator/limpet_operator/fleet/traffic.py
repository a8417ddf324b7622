"""From what single workers say of a provider to one verdict. Pure; sums can be summed again, so replicas send sums.

A provider is down when at least one worker has it out and no worker has had an answer since: since that worker took it
out, and not half a minute longer ago than the failure which keeps it out now. Times are of the workers' own clocks, so
machines that are seconds apart may be wrong by as much.
"""

from collections.abc import Iterable
from functools import reduce
from typing import Final, Literal

import msgspec

from limpet_extproc.contract.catalog import CacheUse, Evidence, OutBecause
from limpet_operator.fleet import cache_use
from limpet_operator.fleet.view import Traffic

OUTWEIGHED_S: Final = 30.0
"""An answer that is this much older than a failure no longer speaks for the provider. Far above the two seconds after
which a worker tells of new answers, so that one worker's failing trials say nothing while others get answers."""


_NO_WORDS: Final = ("", 0, "")
_OF_ONE_MODEL: Final = "ModelNotFound"
"""Answers of other models don't outweigh it; the worker that heard it takes it back."""


class Summary(msgspec.Struct, frozen=True, array_like=True):
    """Some workers' evidence about one provider; Unix seconds, 0: never."""

    up: int = 0
    down: int = 0
    success_s: float = 0.0
    up_since_s: float = 0.0
    """The first of those that have it up."""
    objection_s: float = 0.0
    """An answer before this says nothing."""
    down_since_s: float = 0.0
    """The first of those that have it out."""
    reason: OutBecause | None = None
    """Of the newest objection."""
    cache: CacheUse = CacheUse()
    words: tuple[str, int, str] = _NO_WORDS
    """Cause, status and the provider's own words. Of several the greatest, so that no answer changes what is told."""
    words_s: float = 0.0
    """When any of those was heard last."""


NOTHING: Final = Summary()


def summary(evidence: Iterable[Evidence]) -> Summary:
    """What some workers say of one provider."""
    up = down = 0
    success_s = up_since_s = down_since_s = 0.0
    objection: tuple[float, OutBecause | Literal[""]] = (0.0, "")
    cache = NOTHING.cache
    words, words_s = _NO_WORDS, 0.0
    for each in evidence:
        words = max(words, (each.cause, each.status, each.says))
        words_s = max(words_s, each.cause_s)
        success_s = max(success_s, each.success_s)
        cache = cache_use.joined(cache, each.cache)
        if each.out_because is None:
            up += 1
            up_since_s = _first(up_since_s, each.since_s)
        else:
            down += 1
            down_since_s = _first(down_since_s, each.since_s)
            objection = max(objection, (max(each.since_s, each.failure_s - OUTWEIGHED_S), each.out_because))
    return Summary(
        up, down, success_s, up_since_s, objection[0], down_since_s, objection[1] or None, cache, words, words_s
    )


def joined(summaries: Iterable[Summary]) -> Summary:
    """Those of all together."""
    return reduce(_joined, summaries, NOTHING)


def _joined(one: Summary, other: Summary) -> Summary:
    # The name decides between equal times, so that every replica says the same.
    newest = max(one, other, key=lambda each: (each.objection_s, each.reason or ""))
    return Summary(
        one.up + other.up,
        one.down + other.down,
        max(one.success_s, other.success_s),
        _first(one.up_since_s, other.up_since_s),
        newest.objection_s,
        _first(one.down_since_s, other.down_since_s),
        newest.reason,
        cache_use.joined(one.cache, other.cache),
        max(one.words, other.words),
        max(one.words_s, other.words_s),
    )


def _first(one_s: float, other_s: float) -> float:
    return min(one_s, other_s) if one_s and other_s else one_s or other_s


def verdict(all_of_it: Summary) -> Traffic | None:
    """What it means; None: nobody knows anything."""
    up, down = all_of_it.up, all_of_it.down
    hits, warm = cache_use.hit_percent(all_of_it.cache), cache_use.conversations(all_of_it.cache)
    cause, status, says = all_of_it.words
    if all_of_it.reason is not None and (not up or all_of_it.success_s <= all_of_it.objection_s):
        since_s = all_of_it.down_since_s
        return Traffic("down", all_of_it.reason, since_s, up, down, hits, warm, cause, status, says)
    if not up:
        return None
    if cause != _OF_ONE_MODEL and all_of_it.success_s > all_of_it.words_s:
        cause, status, says = _NO_WORDS
    return Traffic("up", "up", all_of_it.up_since_s, up, down, hits, warm, cause, status, says)
