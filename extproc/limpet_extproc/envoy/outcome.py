"""Envoy's access log: each request teaches about the providers that it was tried at, and about its conversation.

Entries come in batches a moment after the answer, over a stream that no request waits for. They may reach any worker:
what the decision was, and what each attempt came to, travels in the entry itself. A request that was not answered at
the first attempt has an entry while its answer still comes, so that a long one does not hide a failing provider.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from google.protobuf.message import DecodeError

from limpet_extproc.contract.attempt import OF_THE_PROVIDER, PERHAPS_OF_THE_REQUEST, Attempt, AttemptOutcome, Cause
from limpet_extproc.contract.envoy import CLUSTER_HEADER
from limpet_extproc.contract.reasons import ANSWERED
from limpet_extproc.contract.record import Record
from limpet_extproc.decision.bills import RequestBill
from limpet_extproc.decision.cause import CacheFinding, cause_of
from limpet_extproc.envoy import log_entry, trail
from limpet_extproc.envoy.activity_entry import EndedRequest
from limpet_extproc.envoy.cluster_names import ClusterNames
from limpet_extproc.envoy.decision_line import RequestSummary
from limpet_extproc.envoy.in_turns import in_turns
from limpet_extproc.envoy.limited_requests import LimitedRequests, RequestName, name_of
from limpet_extproc.envoy.log_entry import EntryTimes
from limpet_extproc.envoy.log_messages import LOG_MESSAGE, Common, Entry
from limpet_extproc.envoy.noted import Noted
from limpet_extproc.envoy.remembering import Remembering
from limpet_extproc.envoy.usage import TokenUsage
from limpet_extproc.memory import Memory
from limpet_extproc.memory.heads import HeadMemory
from limpet_extproc.providers.cache_use import CacheUses
from limpet_extproc.providers.complaints import Complaints
from limpet_extproc.providers.events import (
    AnswerGenerated,
    AttemptFailed,
    AttemptLimited,
    AttemptSucceeded,
    RequestRefused,
    TrialEnded,
)
from limpet_extproc.providers.timeouts import TimeoutCount
from limpet_extproc.providers.tracker import ProviderTracker
from limpet_extproc.request.pins import Pins
from limpet_extproc.telemetry.metrics import WorkerMetrics

_log = logging.getLogger(__name__)

METHOD: Final = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"

_MAX_UNDER_WAY: Final = 10_000
"""Requests under way with failures that are counted already; beyond it one may count twice."""

_IN_A_ROW: Final = 2
"""Entries after which requests that have come meanwhile are decided first. Those of 20 ms come at once."""

_WITHIN_S: Final = 0.01
"""For that: half of the time until the next ones come."""

_CONVERSATION_BYTES: Final = 4
"""Of a record's key: enough to tell the few conversations of a run of failures apart."""

_UNREAD: Final = "unread"
"""Stands for the conversation of all requests that no worker has read."""

Verbose = Callable[[RequestSummary], None]
"""Shows a person what became of a request."""


class Spender(Protocol):
    """Counts what requests cost."""

    def count(
        self,
        provider: str,
        outcome: AttemptOutcome,
        record: Record | None,
        usage: TokenUsage | None,
        answer_bytes: int,
    ) -> RequestBill | None:
        """One has ended at this provider, or at none (empty), after so much of an answer; its bill, if known."""


class _NoLedger:
    """Counts nothing."""

    def count(self, *_told: object) -> None:
        """See `Spender`."""


_NO_LEDGER: Final = _NoLedger()

Tell = Callable[[Entry, EndedRequest], None]
"""Takes what became of a request, to be told elsewhere."""


class LogStream(Protocol):
    """The side of a gRPC call that log messages come from."""

    async def read(self) -> object:
        """The bytes of the next message, or something else at the end of the stream."""

    def unread(self) -> Sequence[bytes]:
        """Take the messages that have come already, without waiting for more."""


class Outcomes:
    """The access log service, for raw bytes."""

    def __init__(
        self,
        memory: Memory,
        heads: HeadMemory,
        pins: Pins,
        tracker: ProviderTracker,
        limited: LimitedRequests,
        metrics: WorkerMetrics,
        caches: CacheUses,
        complaints: Complaints,
        timeouts: TimeoutCount,
        clock: Callable[[], float],
        always_reports_usage: Callable[[str], bool],
        verbose: Verbose | None = None,
        spending: Spender = _NO_LEDGER,
        tell: Tell | None = None,
        envoy_clock: Callable[[], float] = time.time,
    ) -> None:
        """`always_reports_usage`: whether every whole answer of a provider carries its usage.

        `envoy_clock`: the machine's time, by which Envoy says when a request began; unlike `clock` it may jump.
        """
        self._remembering = Remembering(memory, heads, caches, clock)
        self._pins = pins
        self._tracker = tracker
        self._limited = limited
        self._metrics = metrics
        self._caches = caches
        self._complaints = complaints
        self._timeouts = timeouts
        self._clock = clock
        self._always_reports_usage = always_reports_usage
        self._verbose = verbose
        self._spending = spending
        self._tell = tell
        self._envoy_clock = envoy_clock
        self._shows = verbose is not None or tell is not None
        self._counted: dict[RequestName, frozenset[str]] = {}
        """By request under way: the providers whose failure at it is counted already."""

    async def stream(self, stream: LogStream, names: ClusterNames | None = None) -> bytes:
        """The log of one Envoy worker. `names`: of clusters that are not our own, where one header chose the only one.

        A request that went elsewhere there was left to others, who have a log of their own.
        """
        take = partial(self._take, names)
        try:
            while isinstance(data := await stream.read(), bytes):
                await in_turns(self._entries(data, names), take, _IN_A_ROW, _WITHIN_S)
        except asyncio.CancelledError:
            # Envoy has hung up, or this worker stops; what has come counts.
            for data in stream.unread():
                for entry in self._entries(data, names):
                    take(entry)
            raise
        return b""

    def _entries(self, data: bytes, names: ClusterNames | None) -> Sequence[Entry]:
        try:
            message = LOG_MESSAGE.FromString(data)
        except DecodeError:
            _log.warning("a message of the access log could not be read; its entries are lost")
            self._metrics.failures.inc()
            return ()
        entries: Sequence[Entry] = message.http_logs.log_entry
        if names is not None:
            self._metrics.access_log.taken_of_sidecar(len(entries))
        elif entries:
            self._metrics.access_log.taken(len(entries), self._delay_s(entries[0].common_properties))
        return entries

    def _take(self, names: ClusterNames | None, entry: Entry) -> None:
        try:
            if names is not None:
                _with_our_name(entry, names)
            self._learn_from(entry, read=names is None or names.reads_answers)
        except Exception:
            _log.exception("an access log entry could not be used; please report this")
            self._metrics.failures.inc()

    def _delay_s(self, oldest: Common) -> float | None:
        """How long ago a request ended; None if that is not known."""
        ended_s = log_entry.ended_at_s(oldest)
        return None if ended_s is None else max(0.0, self._envoy_clock() - ended_s)

    def _learn_from(self, entry: Entry, *, read: bool) -> None:
        """`read`: its answer has been read for what it reports."""
        common = entry.common_properties
        noted = log_entry.noted_in(common)
        record = log_entry.record_of(noted)
        reason = log_entry.reason_of(entry, noted, record)
        now_s, cluster = self._clock(), common.upstream_cluster
        if not cluster:
            self._answered_here(entry, reason)
            self._end_trial(record, (), age_s=0.0)
            self._limited.ended(record, (), None, now_s)
            self._remembering.unanswered(record)
            return
        left = log_entry.trail_in(noted)
        attempts, waits_s = log_entry.attempts_of(entry, left, record, now_s, read=read)
        age_s = max(0.0, now_s - record.started_s) if record is not None else 0.0
        if common.access_log_type == log_entry.UNDER_WAY:
            self._count_failures(record, attempts, waits_s, now_s, age_s, ended=False)
            self._limited.under_way(record, attempts)
            self._note_objects(common, noted, record)
            self._remembering.began(record, cluster)
            return
        # Without a host the answer is Envoy's, or a refusal of our own.
        provider = cluster if common.HasField("upstream_remote_address") else ""
        usage = log_entry.usage_of(noted) if provider and not _is_read_again(record) else None
        if usage is None and (record is None or not record.streamed):
            attempts = self._without_usage(entry, provider if read else "", record, attempts)
        outcome = attempts[-1].outcome if attempts else log_entry.last_attempt(entry).outcome
        self._metrics.requests.add(1, provider or "none", reason, outcome)
        # Nearly all requests: none failed before, and whoever was to be tried has answered.
        at_once = outcome == "ok" and len(attempts) == 1 and (record is None or record.order[0] == provider)
        if at_once:
            self._metrics.attempts.add(1, provider, "ok")
        else:
            self._count_failures(record, attempts, waits_s, now_s, age_s, ended=True)
            for attempt in attempts:
                self._count(attempt)
        answer_bytes = entry.response.response_body_bytes
        times = log_entry.times_of(common, left, streamed=record is not None and record.streamed)
        bill, reported = self._spending.count(provider, outcome, record, usage, answer_bytes), usage
        finding = None
        if not provider or outcome != "ok":
            usage = None
        else:
            self._succeeded(times, answer_bytes, provider, record, usage, age_s)
            finding = self._finding(record, attempts, usage)
        if not at_once:
            self._end_trial(record, attempts, age_s)
        self._limited.ended(record, attempts, usage, now_s)
        if record is not None:
            self._remembering.ended(record, attempts, usage, str(finding or ""))
            self._note_objects(common, noted, record)
        if self._shows:
            self._show(entry, EndedRequest(reason, times, record, attempts, reported, finding, bill))

    def _without_usage(
        self, entry: Entry, provider: str, record: Record | None, attempts: tuple[Attempt, ...]
    ) -> tuple[Attempt, ...]:
        """The attempts of a request whose whole answer had no usage: it was not taken, or is none.

        Empty `provider`: none answered, or nobody looked for the usage.
        """
        if log_entry.client_left(entry.common_properties):
            return trail.left(attempts)
        if record is not None and record.kind == "conversation" and self._always_reports_usage(provider):
            return trail.without_usage(attempts)
        return attempts

    def _answered_here(self, entry: Entry, reason: str) -> None:
        """No provider was needed: a list, a health check, or a refusal by the gateway itself."""
        if not reason.startswith(ANSWERED):
            self._metrics.requests.add(1, "none", reason, log_entry.last_attempt(entry).outcome)
        if reason == "answered.health":
            return  # load balancers check every few seconds; their lines would hide all others
        if self._shows:
            times = log_entry.times_of(entry.common_properties, log_entry.NOTHING_LEFT, streamed=False)
            self._show(entry, EndedRequest(reason, times))

    def _show(self, entry: Entry, ended: EndedRequest) -> None:
        if self._verbose is not None:
            attempts = ended.attempts
            usage = ended.usage if attempts and attempts[-1].outcome == "ok" else None
            self._verbose(log_entry.summary(entry, ended.reason, ended.record, attempts, usage, ended.finding))
        if self._tell is not None:
            self._tell(entry, ended)

    def _succeeded(
        self,
        times: EntryTimes,
        answer_bytes: int,
        provider: str,
        record: Record | None,
        usage: TokenUsage | None,
        age_s: float,
    ) -> None:
        if record is not None and not record.model:
            return  # it shows nothing of any model
        model = record.model if record else ""
        is_turn = record is None or record.kind == "conversation"
        # What else is asked for takes as long as it takes.
        timing = log_entry.timing(times, answer_bytes, record, usage) if is_turn else None
        generated = None
        if usage is not None and is_turn:
            seconds, estimated = log_entry.answered_s(times), record.prompt_tokens if record else 0
            generated = AnswerGenerated(provider, usage.output, seconds, model, usage.prompt, estimated)
        self._tracker.answered(AttemptSucceeded(provider, model, timing, age_s), generated)
        self._complaints.resolve(provider, model, record.api if record else "")
        self._metrics.answer_times.add(provider, model, log_entry.client_waited_s(times), times.ended_s)
        if usage is not None:
            self._count_tokens(usage, provider, model)
        elif is_turn:
            self._metrics.unreported.add(1, provider)

    def _finding(
        self, record: Record | None, attempts: tuple[Attempt, ...], usage: TokenUsage | None
    ) -> CacheFinding | None:
        """Why a turn that was served read from the cache what it read."""
        if record is None or not attempts:
            return None
        prompt, cached = (usage.prompt, usage.cached) if usage is not None else (record.prompt_tokens, None)
        finding = cause_of(record, attempts, prompt, cached)
        if finding is not None:
            self._metrics.cache_causes.add(1, attempts[-1].provider, record.model, finding.cause)
        return finding

    def _end_trial(self, record: Record | None, attempts: tuple[Attempt, ...], age_s: float) -> None:
        """Where the request shows less than whether the first provider of its order answers."""
        refused = next((attempt for attempt in attempts if attempt.outcome == "refused"), None)
        if refused is not None:
            self._tracker.apply(RequestRefused(refused.provider, refused.model, age_s))
        if record is None:
            return
        first = record.order[0]
        counted = {failure.provider for failure in trail.failures(attempts)}
        counted |= {attempt.provider for attempt in attempts if attempt.outcome in ("ok", "refused")}
        if first not in counted:
            self._tracker.apply(TrialEnded(first, record.model))

    def _count_failures(
        self,
        record: Record | None,
        attempts: tuple[Attempt, ...],
        waits_s: Mapping[str, float],
        now_s: float,
        age_s: float,
        *,
        ended: bool,
    ) -> None:
        """Count failures against their providers, each request once."""
        name = name_of(record)
        counted = self._counted.pop(name, frozenset()) if name else frozenset()
        failures = trail.failures(attempts)
        for attempt in attempts:
            if attempt.status or attempt in failures:
                self._complaints.add(attempt, now_s, record.api if record else "")
        for failure in failures:
            if failure.provider in counted:
                continue
            provider, model, cause = failure.provider, failure.model, failure.cause
            if not model and cause not in OF_THE_PROVIDER:
                continue  # it concerns one model, and which one is unknown, or none
            if failure.outcome == "limited":
                self._tracker.apply(AttemptLimited(provider, model, waits_s.get(provider), cause, age_s))
            else:
                self._tracker.apply(AttemptFailed(provider, model, cause, age_s, _whose(record, cause)))
        counted |= {failure.provider for failure in failures}
        if not ended and name and counted:
            if len(self._counted) >= _MAX_UNDER_WAY:
                self._counted.pop(next(iter(self._counted)))
            self._counted[name] = counted

    def _count(self, attempt: Attempt) -> None:
        if attempt.cause == "Timeout":
            self._timeouts.add(attempt.provider)
            self._metrics.timeouts.add(1, attempt.provider)
        if attempt.outcome == "failed":
            self._metrics.attempts.add(1, attempt.provider, f"failed_{attempt.status or 'no_answer'}")
        elif attempt.outcome in ("ok", "limited"):
            self._metrics.attempts.add(1, attempt.provider, attempt.outcome)

    def _count_tokens(self, usage: TokenUsage, provider: str, model: str) -> None:
        metrics = self._metrics
        metrics.prompt_tokens.add(usage.prompt, provider, model)
        metrics.output_tokens.add(usage.output, provider, model)
        if usage.written is not None:
            metrics.written_tokens.add(usage.written, provider, model)
        if usage.written_long is not None:
            metrics.written_long_tokens.add(usage.written_long, provider, model)
        if usage.reasoning is not None:
            metrics.reasoning_tokens.add(usage.reasoning, provider, model)
        if usage.cached is None:
            metrics.cache_unreported.add(usage.prompt, provider, model)
        else:
            metrics.cached_tokens.add(usage.cached, provider, model)
            self._caches.read(provider, usage.prompt, usage.cached)

    def _note_objects(self, common: Common, noted: Noted, record: Record | None) -> None:
        """Also of an answer that the client did not wait for, as it may know the id from its beginning."""
        if record is not None and record.owner and common.HasField("upstream_remote_address"):
            for made in log_entry.objects_of(noted):
                self._pins.note(record.owner, made, common.upstream_cluster)


def _with_our_name(entry: Entry, names: ClusterNames) -> None:
    """Some Envoys name clusters in their own way whatever they are asked for; those say on the answer which it was."""
    common = entry.common_properties
    record = log_entry.record_of(log_entry.noted_in(common))
    there = entry.response.response_headers.get(CLUSTER_HEADER, common.upstream_cluster)
    ours = record is not None and names.of(record.order[0]) == there
    common.upstream_cluster = record.order[0] if record is not None and ours else ""


def _is_read_again(record: Record | None) -> bool:
    """Whether the usage in the answer is that of a request before it: a response that is asked for by its id."""
    return record is not None and record.kind == "object"


def _whose(record: Record | None, cause: Cause) -> str:
    """The conversation that a failure may be due to; empty where its cause cannot lie in a request."""
    if cause not in PERHAPS_OF_THE_REQUEST:
        return ""
    return record.key[:_CONVERSATION_BYTES].hex() if record is not None else _UNREAD
