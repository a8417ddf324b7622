"""Envoy's access log: every request teaches about the providers that it was tried at, and about its conversation.

Entries come in batches a moment after the answer, over a stream that no request waits for. They may reach any worker:
what the decision was, and what each attempt came to, travels in the entry itself. Of a request that was not answered at
the first attempt there is word while its answer still comes, so that a long one does not hide that a provider fails.
"""

import logging
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any, Final, Protocol, TypeAlias

from envoy.config.core.v3.base_pb2 import RequestMethod
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2
from google.protobuf.message import DecodeError

from limpet_extproc.contract import record as records
from limpet_extproc.contract.attempt import Attempt, Cause
from limpet_extproc.contract.envoy import (
    DECISION_HEADER,
    DECISION_METADATA,
    DECISION_REASON,
    DETAILS_PREFIX,
    RECORD_METADATA,
    RECORD_TEXT,
    TRAIL_METADATA,
    TRAIL_TIMEOUT,
    USAGE_METADATA,
    USAGE_TOKENS,
)
from limpet_extproc.contract.reasons import ANSWERED
from limpet_extproc.contract.record import Record
from limpet_extproc.envoy import trail
from limpet_extproc.envoy import usage as usages
from limpet_extproc.envoy.decision_line import Told
from limpet_extproc.envoy.usage import Usage
from limpet_extproc.memory import Memory, Warm
from limpet_extproc.providers.cache_use import CacheUses
from limpet_extproc.providers.complaints import Complaints
from limpet_extproc.providers.events import AnswerGenerated, AttemptFailed, AttemptLimited, AttemptSucceeded
from limpet_extproc.providers.tracker import Providers
from limpet_extproc.telemetry.metrics import WorkerMetrics

log = logging.getLogger(__name__)

METHOD: Final = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"

_BY_FLAG: Final[tuple[tuple[str, Cause], ...]] = (
    ("upstream_request_timeout", "Timeout"),
    ("stream_idle_timeout", "Timeout"),
    ("failed_local_healthcheck", "Unreachable"),
    ("no_healthy_upstream", "Unreachable"),
    ("upstream_remote_reset", "ConnectionFailed"),
    ("upstream_connection_failure", "ConnectionFailed"),
    ("upstream_connection_termination", "ConnectionFailed"),
    ("upstream_protocol_error", "ConnectionFailed"),
    ("upstream_max_stream_duration_reached", "Timeout"),
)

_MAX_WAIT_S: Final = 86400.0
"""A longer wait is no wait but an account that is closed; it is looked at again the next day at the latest."""

_CLIENT_BUFFER_BYTES: Final = 512 * 1024
"""Envoy takes more than this from a provider for a client that does not read. An answer that stalls after it may stall
for the client's sake."""

_MAX_EARLY: Final = 10_000
"""Requests under way of which something is held against a provider already; beyond it one may count twice."""

Entry: TypeAlias = accesslog_pb2.HTTPAccessLogEntry
Common: TypeAlias = accesslog_pb2.AccessLogCommon


Verbose = Callable[[Told], None]
"""Shows a person what became of a request."""


class Reads(Protocol):
    """The side of a gRPC call that a stream of log messages comes from."""

    async def read(self) -> object:
        """The bytes of the next message, or something else at the end of the stream."""


class Outcomes:
    """The access log service, for raw bytes."""

    def __init__(
        self,
        memory: Memory,
        providers: Providers,
        metrics: WorkerMetrics,
        caches: CacheUses,
        complaints: Complaints,
        clock: Callable[[], float],
        verbose: Verbose | None = None,
    ) -> None:
        self._memory = memory
        self._providers = providers
        self._metrics = metrics
        self._caches = caches
        self._complaints = complaints
        self._clock = clock
        self._verbose = verbose
        self._early: dict[str, frozenset[str]] = {}
        """By request under way: the providers that it has been held against."""

    async def stream(self, stream: Reads) -> bytes:
        """The log of one Envoy worker."""
        while isinstance(data := await stream.read(), bytes):
            try:
                message = als_pb2.StreamAccessLogsMessage.FromString(data)
            except DecodeError:
                log.warning("a message of the access log could not be read; what it told is lost")
                self._metrics.failures.inc()
                continue
            for entry in message.http_logs.log_entry:
                try:
                    self._request(entry)
                except Exception:
                    log.exception("an access log entry could not be used; please report this")
                    self._metrics.failures.inc()
            self._metrics.flush()
        return b""

    def _request(self, entry: Entry) -> None:
        common = entry.common_properties
        carried = common.metadata.filter_metadata[RECORD_METADATA].fields[RECORD_TEXT].string_value
        record = records.decode(carried) if carried else None
        reason = _reason(entry, record)
        if not common.upstream_cluster:
            self._answered_here(entry, reason)
            return
        now_s = self._clock()
        made, waits_s = _attempts(entry, record, now_s)
        if common.access_log_type == accesslog_pb2.AccessLogType.DownstreamPeriodic:
            self._hold(common.stream_id, made, waits_s, now_s, ended=False)
            return
        # Without a host of its own an answer is Envoy's, or our refusal.
        provider = common.upstream_cluster if common.HasField("upstream_remote_address") else ""
        outcome = made[-1].outcome if made else _ended(entry).outcome
        self._metrics.requests.add(1, provider or "none", reason, outcome)
        self._hold(common.stream_id, made, waits_s, now_s, ended=True)
        for each in made:
            self._count(each)
        usage = None
        if provider and outcome == "ok":
            self._providers.apply(
                AttemptSucceeded(provider, now_s, _first_byte_s(common), record.model if record else "")
            )
            self._complaints.resolve(provider, record.model if record else "")
            usage = self._usage(common, provider, record)
            if usage is not None:
                self._providers.apply(AnswerGenerated(provider, usage.output, _answered_s(common)))
        if record is not None:
            self._learn(record, made, usage)
        if self._verbose is not None:
            self._verbose(_told(entry, reason, record, made, usage))

    def _answered_here(self, entry: Entry, reason: str) -> None:
        """Nobody was to be asked: a list, a check of health, or a refusal of the gateway's own."""
        if not reason.startswith(ANSWERED):
            self._metrics.requests.add(1, "none", reason, _ended(entry).outcome)
        # Load balancers check every few seconds; their lines would hide all others.
        if self._verbose is not None and reason != "answered.health":
            self._verbose(_told(entry, reason))

    def _hold(
        self, stream: str, made: tuple[Attempt, ...], waits_s: Mapping[str, float], now_s: float, *, ended: bool
    ) -> None:
        """Hold against the providers what they failed at, each request once."""
        before = self._early.pop(stream, frozenset()) if stream else frozenset()
        held = trail.held_against(made)
        for each in made:
            if each.status or each in held:
                self._complaints.add(each, now_s)
        for each in held:
            if each.provider in before:
                continue
            model = "" if each.cause in trail.OF_THE_PROVIDER else each.model
            if each.outcome == "limited":
                self._providers.apply(AttemptLimited(each.provider, now_s, waits_s.get(each.provider, 0.0), model))
            else:
                self._providers.apply(AttemptFailed(each.provider, now_s, model))
        if not ended and stream:
            if len(self._early) >= _MAX_EARLY:
                self._early.pop(next(iter(self._early)))
            self._early[stream] = before | {each.provider for each in held}

    def _count(self, attempt: Attempt) -> None:
        if attempt.outcome == "failed":
            self._metrics.attempts.add(1, attempt.provider, f"failed_{attempt.status or 'no_answer'}")
        elif attempt.outcome in ("ok", "limited"):
            self._metrics.attempts.add(1, attempt.provider, attempt.outcome)

    def _learn(self, record: Record, made: tuple[Attempt, ...], usage: Usage | None) -> None:
        """Forget who failed, remember who served."""
        if not record.learn or not made:
            return
        key, last = bytes.fromhex(record.key), made[-1]
        for name in dict.fromkeys(each.provider for each in made):
            if name != last.provider:
                self._memory.forget(key, name)
        if last.outcome in ("client_left", "refused"):
            return  # neither says anything about what is warm there
        provider = last.provider
        position = record.order.index(provider) if provider in record.order else -1
        ttl_s = record.ttls_s[position] if position >= 0 else 0.0
        if last.outcome != "ok" or ttl_s <= 0:
            self._memory.forget(key, provider)
            return
        warm = Warm(
            provider,
            record.started_s + ttl_s,
            usage.prompt if usage else record.prompt_tokens,
            (usage.cached or 0) if usage else 0,
        )
        self._memory.remember(key, warm, record.max_providers, self._clock())
        self._caches.warm(provider, key, warm.until_s)

    def _usage(self, common: Common, provider: str, record: Record | None) -> Usage | None:
        reported = common.metadata.typed_filter_metadata.get(usages.METADATA_KEY)
        usage = usages.read(
            reported.value if reported is not None else None,
            common.metadata.filter_metadata[USAGE_METADATA].fields[USAGE_TOKENS].struct_value,
        )
        if usage is None:
            self._metrics.unreported.add(1, provider)
            return None
        model = record.model if record else ""
        self._metrics.prompt_tokens.add(usage.prompt, provider, model)
        self._metrics.output_tokens.add(usage.output, provider, model)
        if usage.cached is None:
            self._metrics.cache_unreported.add(usage.prompt, provider, model)
        else:
            self._metrics.cached_tokens.add(usage.cached, provider, model)
            self._caches.read(provider, usage.prompt, usage.cached)
        return usage


def _reason(entry: Entry, record: Record | None) -> str:
    """Why the request went where it went: the decision's reason, our refusal's, or what Envoy says for itself."""
    details: str = entry.response.response_code_details
    if details.startswith(DETAILS_PREFIX):
        return details[len(DETAILS_PREFIX) :]
    if record is not None:
        return record.reason
    told: str = entry.response.response_headers[DECISION_HEADER]
    if told:
        return told
    reason: str = (
        entry.common_properties.metadata.filter_metadata[DECISION_METADATA].fields[DECISION_REASON].string_value
    )
    return reason


def _told(
    entry: Entry,
    reason: str,
    record: Record | None = None,
    made: tuple[Attempt, ...] = (),
    usage: Usage | None = None,
) -> Told:
    method = RequestMethod.Name(entry.request.request_method) if entry.request.request_method else ""
    status, duration_s = entry.response.response_code.value, _seconds(entry.common_properties.duration)
    return Told(reason, status, duration_s, record, made, usage, method, entry.request.path)


def _attempts(entry: Entry, record: Record | None, now_s: float) -> tuple[tuple[Attempt, ...], dict[str, float]]:
    """All attempts of the request, and by provider how many seconds a 429 asked us to wait."""
    common = entry.common_properties
    ended = _ended(entry)
    fields = common.metadata.filter_metadata[TRAIL_METADATA].fields
    if not fields and common.upstream_request_attempt_count <= 1:
        if not ended.provider:
            return (), {}
        model = record.model if record else ""
        return (Attempt(ended.provider, model, ended.status, ended.outcome, ended.cause),), {}
    noted = trail.noted(fields)
    waits = {
        number: seconds
        for number, note in noted.items()
        if note.cause == "Limited" and (seconds := retry_after_s(note.retry_after, now_s)) is not None
    }
    course = trail.Course(
        order=record.order if record else (),
        tries=record.tries if record else 1,
        model=record.model if record else "",
        number=common.upstream_request_attempt_count,
        noted=noted,
        timed_out=fields[TRAIL_TIMEOUT].bool_value if TRAIL_TIMEOUT in fields else False,
    )
    return trail.attempts(course, ended, waits), {noted[number].provider: seconds for number, seconds in waits.items()}


def _ended(entry: Entry) -> trail.Ended:
    """How the last attempt ended, by its status and Envoy's flags alone."""
    status, common = entry.response.response_code.value, entry.common_properties
    flags = common.response_flags if common.HasField("response_flags") else None
    flagged = next((cause for flag, cause in _BY_FLAG if flags is not None and getattr(flags, flag)), None)
    # Our own refusals have no host, and are nobody's attempt; an attempt that reached no host has a flag.
    provider = common.upstream_cluster if common.HasField("upstream_remote_address") or flagged else ""
    if flagged is not None:
        begun = status == 200
        if begun and flagged == "Timeout" and entry.response.response_body_bytes >= _CLIENT_BUFFER_BYTES:
            return trail.Ended(provider, status, "client_left")
        return trail.Ended(provider, status if begun else 0, "failed", "BrokenOff" if begun else flagged)
    if status == 0:
        return trail.Ended(provider, 0, "client_left")
    if status >= 500:
        return trail.Ended(provider, status, "failed", "ServerError")
    if status in (200, 201):
        return trail.Ended(provider, status, "ok")
    if status >= 400:
        return trail.Ended(provider, status, "refused", "BadRequest")
    return trail.Ended(provider, status, "failed", "Redirected" if status >= 300 else "NotAnAnswer")


def retry_after_s(text: str, now_s: float) -> float | None:
    """Seconds from now that `retry-after` asks for, in either of its two forms; None if it is neither."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now_s
        except (ValueError, OverflowError, OSError, TypeError, IndexError):
            return None
    return min(max(0.0, seconds), _MAX_WAIT_S) if isfinite(seconds) else None


def _first_byte_s(common: Common) -> float | None:
    """From the first byte sent to the provider to the first one back, in the attempt that answered."""
    waited_s = _seconds(common.time_to_first_upstream_rx_byte) - _seconds(common.time_to_first_upstream_tx_byte)
    return waited_s if waited_s > 0 else None


def _answered_s(common: Common) -> float:
    """From the first byte sent to the provider to the last one back, in the attempt that answered."""
    return _seconds(common.time_to_last_upstream_rx_byte) - _seconds(common.time_to_first_upstream_tx_byte)


def _seconds(duration: Any) -> float:
    seconds: float = duration.seconds + duration.nanos / 1e9
    return seconds
