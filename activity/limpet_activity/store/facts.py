"""What counts as what: which records a filter means, and what some of them add up to.

A store that asks a database answers alike; `tests/activity/store/answers.py` holds both to the same answers.
"""

from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec

from limpet_activity.store.port import ActivityFilter, Facet, Sums
from limpet_extproc.contract.activity import ActivityRecord

OTHERS: Final = "(others)"
"""The value of the group that has what is beyond the limit."""

Counted: TypeAlias = tuple[float, ...]
"""The numbers of `port.Sums`, in their order."""


def has_failed(record: ActivityRecord) -> bool:
    """Whether the client got no good answer: none, an error, or one that broke off."""
    broke_off = bool(record.attempts) and record.attempts[-1].outcome in ("failed", "limited")
    return record.status == 0 or record.status >= 400 or broke_off


def bare_cause(cause: str) -> str:
    """Without its detail: `prefix_changed` of `prefix_changed(message 3)`."""
    return cause.partition("(")[0]


def facet_of(record: ActivityRecord, by: Facet) -> str:
    """The value by which it is filtered and counted; empty: it has none."""
    match by:
        case "provider":
            return record.provider
        case "model":
            return record.model
        case "tenant":
            return record.client or record.tenant
        case "reason":
            return record.reason
        case "cause":
            return bare_cause(record.cause)
        case "gateway":
            return record.gateway


def matches(which: ActivityFilter, record: ActivityRecord) -> bool:
    """Whether the filter means this record. It has those from `since_s` on and before `until_s`."""
    return (
        (which.since_s is None or which.since_s <= record.time_s)
        and (which.until_s is None or record.time_s < which.until_s)
        and (not which.provider or _asked(record, which.provider))
        and which.model in ("", record.model)
        and which.tenant in ("", facet_of(record, "tenant"))
        and _has_reason(record.reason, which.reason)
        and which.cause in ("", bare_cause(record.cause))
        and record.conversation.startswith(which.conversation)
        and which.gateway in ("", record.gateway)
        and which.failed in (None, has_failed(record))
    )


def _asked(record: ActivityRecord, provider: str) -> bool:
    return record.provider == provider or any(tried.provider == provider for tried in record.attempts)


def _has_reason(reason: str, wanted: str) -> bool:
    return reason.startswith(wanted) if not wanted or wanted.endswith(".") else reason == wanted


def sums_of(records: Iterable[ActivityRecord]) -> Sums:
    """Over all of them."""
    columns = zip(*map(counted, records), strict=True)
    return Sums(*(sum(column) for column in columns))


def added(one: Sums, other: Sums) -> Sums:
    """Both together."""
    pairs = zip(msgspec.structs.astuple(one), msgspec.structs.astuple(other), strict=True)
    return Sums(*(left + right for left, right in pairs))


def counted(record: ActivityRecord) -> Counted:
    """What one record counts. A request whose price is known costs the same by a rule that says nothing about it."""
    prompt, cached, paid = record.prompt_tokens, record.cached_tokens, record.paid_usd
    tokens = (prompt, cached) if prompt is not None and cached is not None else (0, 0)
    counts = (1, int(has_failed(record)), *tokens, record.output_tokens or 0)
    if paid is None:
        return (*counts, 0.0, 0.0, 0.0, 0.0, int(prompt is not None), 0.0, 0.0)
    return (
        *counts,
        paid,
        paid if record.uncached_usd is None else record.uncached_usd,
        paid if record.spread_usd is None else record.spread_usd,
        paid if record.cheapest_usd is None else record.cheapest_usd,
        0,
        record.observed_usd or 0.0,
        0.0 if record.observed_usd is None else paid,
    )
