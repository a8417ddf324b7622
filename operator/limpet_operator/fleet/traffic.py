"""From the evidence of single workers to the state of a provider. Pure; replicas send summaries and join them.

A provider is down when at least one worker has it out and no worker has had an answer since: since that worker took it
out, and not half a minute longer ago than the failure which keeps it out now. Times are from the workers' own clocks:
if those differ by seconds, so may the result.
"""

from collections.abc import Iterable
from functools import reduce
from typing import Final, Literal

import msgspec

from limpet_extproc.contract.catalog import CacheUse, Evidence, Trouble
from limpet_operator.fleet import cache_use
from limpet_operator.fleet.view import Traffic

OUTWEIGHED_S: Final = 30.0
"""An answer that is this much older than a failure no longer counts. Far above the two seconds after which a worker
reports new answers, so that one worker's failing trials do not count while others get answers."""


_NO_WORDS: Final = ("", 0, "")
_OF_ONE_MODEL: Final = "ModelNotFound"
"""Answers of other models don't outweigh it; the worker that got it takes it back."""


class Summary(msgspec.Struct, frozen=True, array_like=True):
    """Some workers' evidence about one provider; Unix seconds, 0: never."""

    up: int = 0
    down: int = 0
    success_s: float = 0.0
    up_since_s: float = 0.0
    """The first of those that have it up."""
    objection_s: float = 0.0
    """An answer before this does not count."""
    down_since_s: float = 0.0
    """The first of those that have it out."""
    reason: Trouble | None = None
    """Of the newest objection."""
    cache: CacheUse = CacheUse()
    words: tuple[str, int, str] = _NO_WORDS
    """Cause, status and the provider's own words. Of several the greatest, so that it does not flap."""
    words_s: float = 0.0
    """When the provider last sent any of those."""


NOTHING: Final = Summary()


def summary(evidence: Iterable[Evidence]) -> Summary:
    """The evidence of some workers about one provider, joined."""
    up = down = 0
    success_s = up_since_s = down_since_s = 0.0
    objection: tuple[float, Trouble | Literal[""]] = (0.0, "")
    cache = NOTHING.cache
    words, words_s = _NO_WORDS, 0.0
    for each in evidence:
        words = max(words, (each.cause, each.status, each.message))
        words_s = max(words_s, each.cause_s)
        success_s = max(success_s, each.success_s)
        cache = cache_use.joined(cache, each.cache)
        if each.trouble is None:
            up += 1
            up_since_s = _first(up_since_s, each.since_s)
        else:
            down += 1
            down_since_s = _first(down_since_s, each.since_s)
            objection = max(objection, (max(each.since_s, each.failure_s - OUTWEIGHED_S), each.trouble))
    return Summary(
        up, down, success_s, up_since_s, objection[0], down_since_s, objection[1] or None, cache, words, words_s
    )


def joined(summaries: Iterable[Summary]) -> Summary:
    """One summary of all."""
    return reduce(_joined, summaries, NOTHING)


def _joined(one: Summary, other: Summary) -> Summary:
    # The name decides between equal times, so that all replicas agree.
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


def traffic_from(everywhere: Summary) -> Traffic | None:
    """The provider's state by the evidence of all workers; None: there is none."""
    hits, warm = cache_use.hit_percent(everywhere.cache), cache_use.conversations(everywhere.cache)
    cause, status, message = everywhere.words
    if everywhere.reason is not None and (not everywhere.up or everywhere.success_s <= everywhere.objection_s):
        since_s = everywhere.down_since_s
        return Traffic("down", everywhere.reason, since_s, hits, warm, cause, status, message)
    if not everywhere.up:
        return None
    if cause != _OF_ONE_MODEL and everywhere.success_s > everywhere.words_s:
        cause, status, message = _NO_WORDS
    return Traffic("up", "up", everywhere.up_since_s, hits, warm, cause, status, message)
