"""What the activity service is told of a request that has ended: its access log entry, read once more. Pure."""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import repeat
from typing import Final

import msgspec

from limpet_extproc.contract.activity import ActivityRecord, ConsideredProvider, TriedProvider
from limpet_extproc.contract.api_keys import blanked
from limpet_extproc.contract.apis import asked
from limpet_extproc.contract.attempt import Attempt
from limpet_extproc.contract.envoy import (
    TRACE_HEADER,
    TRAIL_ALL_BEGAN_MS,
)
from limpet_extproc.contract.record import Record
from limpet_extproc.decision.bills import RequestBill
from limpet_extproc.decision.cause import CacheFinding
from limpet_extproc.decision.costs_elsewhere import enforced_usd, usd_at
from limpet_extproc.decision.snapshot import Lane
from limpet_extproc.envoy.log_entry import (
    EntryTimes,
    asked_path,
    client_waited_s,
    in_seconds,
    noted_in,
    refused_for,
    trail_in,
)
from limpet_extproc.envoy.log_messages import Common, Entry
from limpet_extproc.envoy.usage import TokenUsage

MOST_CONSIDERED: Final = 16
"""Providers of one record."""
_LONGEST_PATH: Final = 200
_LONGEST_NAME: Final = 200
"""Of a model that nobody serves: clients write what they like."""

_TRACE: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context. What a later version may add after it is left out."""


class EndedRequest(msgspec.Struct, frozen=True, gc=False):
    """What a worker has found out about it."""

    reason: str
    times: EntryTimes
    record: Record | None = None
    """None: no worker decided, or it was refused."""
    attempts: tuple[Attempt, ...] = ()
    usage: TokenUsage | None = None
    finding: CacheFinding | None = None
    bill: RequestBill | None = None


def activity_record(entry: Entry, ended: EndedRequest, lane: Lane | None, name: str, gateway: str) -> ActivityRecord:
    """All that is known of it. `lane`: where it could have gone; None: unknown. `name`: that of the record."""
    record = ended.record
    if record is None:
        return _of_unread(entry, ended, name, gateway)
    common, times, attempts, usage, bill = entry.common_properties, ended.times, ended.attempts, ended.usage, ended.bill
    provider = _answered_by(common, attempts)
    expected = record.cache.expected
    # By position, as so many names would take three times as long.
    return ActivityRecord(
        name,
        in_seconds(common.start_time),
        gateway,
        ended.reason,
        entry.response.response_code.value,
        times.ended_s,
        record.key.hex() if record.identified_by else "",
        record.tenant,
        record.client,
        record.policy,
        record.model[:_LONGEST_NAME],
        record.api,
        record.kind,
        record.identified_by,
        record.enforce_reason or "",
        provider,
        _tried(common, times, attempts),
        considered(record, provider, usage, lane, bill),
        record.streamed,
        _first_byte_s(times),
        None if usage is None else usage.prompt,
        None if usage is None else usage.cached,
        None if usage is None else usage.written,
        None if usage is None else usage.output,
        None if usage is None else usage.reasoning,
        expected[0] if expected else None,
        "" if ended.finding is None else str(ended.finding),
        None if bill is None else bill.paid_usd,
        None if bill is None else bill.uncached_usd,
        None if bill is None else bill.spread_usd,
        None if bill is None else bill.cheapest_usd,
        _path_of_api(asked_path(entry)),
        _error(attempts),
        traceparent(record.traceparent) if record.traceparent else "",
        _observed_usd(record, provider, usage, lane, bill) if record.enforce_provider else None,
        record.enforce_provider,
    )


def _of_unread(entry: Entry, ended: EndedRequest, name: str, gateway: str) -> ActivityRecord:
    """Of a request that no worker decided, or that was refused."""
    common, attempts, usage = entry.common_properties, ended.attempts, ended.usage
    field, model, client = refused_for(entry)
    return ActivityRecord(
        id=name,
        time_s=in_seconds(common.start_time),
        gateway=gateway,
        reason=ended.reason,
        status=entry.response.response_code.value,
        duration_s=ended.times.ended_s,
        client=client,
        model=model[:_LONGEST_NAME],
        provider=_answered_by(common, attempts),
        attempts=_tried(common, ended.times, attempts),
        first_byte_s=_first_byte_s(ended.times),
        prompt_tokens=None if usage is None else usage.prompt,
        cached_tokens=None if usage is None else usage.cached,
        written_tokens=None if usage is None else usage.written,
        output_tokens=None if usage is None else usage.output,
        reasoning_tokens=None if usage is None else usage.reasoning,
        # Whatever a client wrote, by mistake its key.
        path=blanked(asked_path(entry).partition("?")[0])[:_LONGEST_PATH],
        error=field or _error(attempts),
        traceparent=traceparent(entry.request.request_headers.get(TRACE_HEADER, "")),
    )


def _answered_by(common: Common, attempts: Sequence[Attempt]) -> str:
    return attempts[-1].provider if attempts and common.HasField("upstream_remote_address") else ""


def traceparent(text: str) -> str:
    """The client's name of its trace, if it is a valid one; else empty."""
    return text if text and _TRACE.fullmatch(text) else ""


def considered(
    record: Record, provider: str, usage: TokenUsage | None, lane: Lane | None, bill: RequestBill | None
) -> list[ConsideredProvider]:
    """Who could have served it: in the order of the decision, then those that were passed over."""
    found, excluded, started_s = [], record.excluded, record.started_s
    by_provider = lane.by_provider if lane is not None and usage is not None else {}
    order, expected = record.order[:MOST_CONSIDERED], record.cache.expected or repeat(None)
    for name, ttl_s, warm_tokens in zip(order, record.ttls_s, expected, strict=False):
        usd = None
        if name == provider:
            usd = None if bill is None else bill.paid_usd
        elif usage is not None and (candidate := by_provider.get(name)) is not None:
            usd = usd_at(candidate, record, usage, warm_tokens or 0, ttl_s)
        passed_over = excluded.get(name, "") if excluded else ""
        until_s = started_s + ttl_s if ttl_s > 0 else 0.0
        found.append(ConsideredProvider(name, passed_over, warm_tokens, usd, until_s))
    if excluded:
        others = [name for name in excluded if name not in record.order]
        found += [ConsideredProvider(name, excluded[name]) for name in others[: MOST_CONSIDERED - len(found)]]
    return found


@lru_cache(maxsize=256)  # Nearly all requests have one of a few paths, and reading one takes as long as all else here.
def _path_of_api(path: str) -> str:
    """That of the API, however the client wrote it."""
    path = path.partition("?")[0]
    return f"/v1{asked(path).path}"[:_LONGEST_PATH] if path else ""


def _observed_usd(
    record: Record, provider: str, usage: TokenUsage | None, lane: Lane | None, bill: RequestBill | None
) -> float | None:
    if usage is None or lane is None or bill is None:
        return None
    return enforced_usd(lane, record, provider, usage, bill.paid_usd)


def _error(attempts: Sequence[Attempt]) -> str:
    last = attempts[-1] if attempts else None
    return "" if last is None or last.outcome == "ok" else last.cause


def _tried(common: Common, times: EntryTimes, attempts: Sequence[Attempt]) -> list[TriedProvider]:
    """With the times that Envoy and its Lua note. One that fails ends when the next begins, pauses included."""
    ended_s = times.ended_s if times.came_whole_s is None else times.came_whole_s
    if len(attempts) == 1:  # nearly all requests
        attempt, begun = attempts[0], times.sent_s
        took_s = max(0.0, ended_s - begun) if begun is not None else None
        return [TriedProvider(attempt.provider, attempt.outcome, attempt.status, attempt.cause, begun, took_s)]
    if not attempts:
        return []
    left = trail_in(noted_in(common))
    noted = left[TRAIL_ALL_BEGAN_MS].string_value.split() if TRAIL_ALL_BEGAN_MS in left else []
    begun_s: list[float | None] = [None] * len(attempts)
    if len(noted) == len(attempts) - 1:
        begun_s = [in_seconds(common.time_to_last_rx_byte), *(int(ms) / 1000 for ms in noted)]
    tried = []
    for attempt, begun, end in zip(attempts, begun_s, (*begun_s[1:], ended_s), strict=False):
        took_s = max(0.0, end - begun) if begun is not None and end is not None else None
        tried.append(TriedProvider(attempt.provider, attempt.outcome, attempt.status, attempt.cause, begun, took_s))
    return tried


def _first_byte_s(times: EntryTimes) -> float | None:
    return None if times.first_byte_s is None else client_waited_s(times)
