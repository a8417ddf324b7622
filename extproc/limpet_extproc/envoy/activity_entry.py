"""What the activity service is told of a request that has ended: its access log entry, read once more. Pure."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from limpet_extproc.contract.activity import ActivityRecord, ConsideredProvider, TriedProvider
from limpet_extproc.contract.api_keys import blanked
from limpet_extproc.contract.apis import asked
from limpet_extproc.contract.attempt import Attempt
from limpet_extproc.contract.envoy import (
    TRACE_HEADER,
    TRAIL_ALL_BEGAN_MS,
    TRAIL_METADATA,
)
from limpet_extproc.contract.record import Record
from limpet_extproc.decision.bills import RequestBill
from limpet_extproc.decision.cause import CacheFinding
from limpet_extproc.decision.costs_elsewhere import enforced_usd, usd_at
from limpet_extproc.decision.snapshot import Lane
from limpet_extproc.envoy.log_entry import Common, Entry, asked_path, client_waited_s, in_seconds, refused_for
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
    record: Record | None = None
    """None: no worker decided, or it was refused."""
    attempts: tuple[Attempt, ...] = ()
    usage: TokenUsage | None = None
    finding: CacheFinding | None = None
    bill: RequestBill | None = None


def activity_record(entry: Entry, ended: EndedRequest, lane: Lane | None, name: str, gateway: str) -> ActivityRecord:
    """All that is known of it. `lane`: where it could have gone; None: unknown. `name`: that of the record."""
    common, record, usage, bill, attempts = (
        entry.common_properties,
        ended.record,
        ended.usage,
        ended.bill,
        ended.attempts,
    )
    start = common.start_time
    field, model, client = refused_for(entry) if record is None else ("", record.model, record.client)
    answered = bool(attempts) and common.HasField("upstream_remote_address")
    provider = attempts[-1].provider if answered else ""
    return ActivityRecord(
        id=name,
        time_s=start.seconds + start.nanos / 1e9,
        gateway=gateway,
        reason=ended.reason,
        status=entry.response.response_code.value,
        duration_s=in_seconds(common.duration),
        conversation=record.key.hex() if record is not None and record.identified_by else "",
        tenant="" if record is None else record.tenant,
        client=client,
        policy="" if record is None else record.policy,
        model=model[:_LONGEST_NAME],
        api="" if record is None else record.api,
        kind=None if record is None else record.kind,
        identified_by="" if record is None else record.identified_by,
        enforce_reason="" if record is None else record.enforce_reason or "",
        provider=provider,
        attempts=_tried(common, attempts),
        considered=() if record is None else considered(record, provider, usage, lane, bill),
        streamed=record is not None and record.streamed,
        first_byte_s=_first_byte_s(common, streamed=record is not None and record.streamed),
        prompt_tokens=None if usage is None else usage.prompt,
        cached_tokens=None if usage is None else usage.cached,
        written_tokens=None if usage is None else usage.written,
        output_tokens=None if usage is None else usage.output,
        reasoning_tokens=None if usage is None else usage.reasoning,
        expected_tokens=record.cache.expected[0] if record is not None and record.cache.expected else None,
        cause="" if ended.finding is None else str(ended.finding),
        paid_usd=None if bill is None else bill.paid_usd,
        uncached_usd=None if bill is None else bill.uncached_usd,
        spread_usd=None if bill is None else bill.spread_usd,
        cheapest_usd=None if bill is None else bill.cheapest_usd,
        path=_path(entry, read=record is not None),
        error=field or _error(attempts),
        traceparent=traceparent(entry.request.request_headers[TRACE_HEADER] if record is None else record.traceparent),
        observed_usd=_observed_usd(record, provider, usage, lane, bill),
        enforce_provider="" if record is None else record.enforce_provider,
    )


def traceparent(text: str) -> str:
    """The client's name of its trace, if it is a valid one; else empty."""
    return text if text and _TRACE.fullmatch(text) else ""


def considered(
    record: Record, provider: str, usage: TokenUsage | None, lane: Lane | None, bill: RequestBill | None
) -> list[ConsideredProvider]:
    """Who could have served it: in the order of the decision, then those that were passed over."""
    found, expected, excluded = [], record.cache.expected, record.excluded
    for at, name in enumerate(record.order[:MOST_CONSIDERED]):
        ttl_s = record.ttls_s[at]
        warm_tokens = expected[at] if expected else None
        usd = None
        if name == provider:
            usd = None if bill is None else bill.paid_usd
        elif usage is not None and lane is not None and (candidate := lane.by_provider.get(name)) is not None:
            usd = usd_at(candidate, record, usage, warm_tokens or 0, ttl_s)
        until_s = record.started_s + ttl_s if ttl_s > 0 else 0.0
        passed_over = excluded.get(name, "") if excluded else ""
        found.append(ConsideredProvider(name, passed_over, warm_tokens, usd, until_s))
    if excluded:
        others = [name for name in excluded if name not in record.order]
        found += [ConsideredProvider(name, excluded[name]) for name in others[: MOST_CONSIDERED - len(found)]]
    return found


def _path(entry: Entry, *, read: bool) -> str:
    path = asked_path(entry).partition("?")[0]
    # That of a request that was read is one of the API's, however it was written; another is whatever a client wrote,
    # by mistake its key.
    return _path_of_api(path) if read and path else blanked(path)[:_LONGEST_PATH]


@lru_cache(maxsize=256)  # Nearly all requests have one of a few paths, and reading one takes as long as all else here.
def _path_of_api(path: str) -> str:
    return f"/v1{asked(path).path}"[:_LONGEST_PATH]


def _observed_usd(
    record: Record | None, provider: str, usage: TokenUsage | None, lane: Lane | None, bill: RequestBill | None
) -> float | None:
    if record is None or not record.enforce_provider or usage is None or lane is None or bill is None:
        return None
    return enforced_usd(lane, record, provider, usage, bill.paid_usd)


def _error(attempts: Sequence[Attempt]) -> str:
    last = attempts[-1] if attempts else None
    return "" if last is None or last.outcome == "ok" else last.cause


def _tried(common: Common, attempts: Sequence[Attempt]) -> list[TriedProvider]:
    """With the times that Envoy and its Lua note. One that fails ends when the next begins, pauses included."""
    last = len(attempts) - 1
    begun_s: list[float | None] = [None] * len(attempts)
    if last == 0 and common.HasField("time_to_first_upstream_tx_byte"):
        begun_s[0] = in_seconds(common.time_to_first_upstream_tx_byte)
    elif last > 0:
        noted = common.metadata.filter_metadata[TRAIL_METADATA].fields[TRAIL_ALL_BEGAN_MS].string_value.split()
        if len(noted) == last:
            begun_s = [in_seconds(common.time_to_last_rx_byte), *(int(ms) / 1000 for ms in noted)]
    ended_s = in_seconds(
        common.time_to_last_upstream_rx_byte if common.HasField("time_to_last_upstream_rx_byte") else common.duration
    )
    tried = []
    for at, attempt in enumerate(attempts):
        begun, end = begun_s[at], begun_s[at + 1] if at < last else ended_s
        took_s = max(0.0, end - begun) if begun is not None and end is not None else None
        tried.append(TriedProvider(attempt.provider, attempt.outcome, attempt.status, attempt.cause, begun, took_s))
    return tried


def _first_byte_s(common: Common, *, streamed: bool) -> float | None:
    if not common.HasField("time_to_first_downstream_tx_byte"):
        return None
    return client_waited_s(common, streamed=streamed)[0]
