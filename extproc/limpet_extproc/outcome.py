"""Envoy's access logs: every attempt teaches about its provider, every ended request about its conversation.

Entries come in batches a moment after the answer, over a stream that no request waits for. They may reach any worker:
what the decision was travels in the entry itself.
"""

import logging
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol, TypeAlias

import grpc
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2

from limpet_extproc import record as records
from limpet_extproc import usage as usages
from limpet_extproc.attempt import Attempt, Cause
from limpet_extproc.cache_use import CacheUses
from limpet_extproc.complaints import Complaints
from limpet_extproc.memory import Memory, Warm
from limpet_extproc.metrics import Metrics
from limpet_extproc.providers import Providers
from limpet_extproc.record import Record
from limpet_extproc.usage import Usage

log = logging.getLogger(__name__)

METHOD: Final = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"

ATTEMPT_LOG: Final = "limpet.attempt"
"""The `log_name` under which the router reports attempts; the other log reports whole requests."""

_PROVIDERS_FAULT: Final = frozenset({401, 402, 403, 408, 429, 529})
"""Besides 5xx. Key, credit and capacity are the provider's affair with us; 400, 404 and 422 are the request's."""

_UPSTREAM_FLAGS: Final = (
    "failed_local_healthcheck",
    "no_healthy_upstream",
    "upstream_request_timeout",
    "upstream_remote_reset",
    "upstream_connection_failure",
    "upstream_connection_termination",
    "upstream_protocol_error",
    "upstream_max_stream_duration_reached",
    "stream_idle_timeout",
)

_OURS: Final = "limpet_"
"""Begins the response code details of what ext_proc itself answered; the decision's word follows."""

Entry: TypeAlias = accesslog_pb2.HTTPAccessLogEntry
Common: TypeAlias = accesslog_pb2.AccessLogCommon
Verbose = Callable[[Record, str, int, Usage | None, float], None]


class Reads(Protocol):
    """The side of a gRPC call that a stream of log messages comes from."""

    async def read(self) -> object:
        """The bytes of the next message, or something else at the end of the stream."""


class Outcomes:
    """The gRPC handler of the access log service, for raw bytes."""

    def __init__(
        self,
        memory: Memory,
        providers: Providers,
        metrics: Metrics,
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

    def handler(self) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """To be registered under METHOD."""
        return grpc.stream_unary_rpc_method_handler(self.stream)

    async def stream(self, _: object, context: Reads) -> bytes:
        """One log of one Envoy worker; its name comes with the first message only."""
        name = ""
        while isinstance(data := await context.read(), bytes):
            message = als_pb2.StreamAccessLogsMessage.FromString(data)
            name = message.identifier.log_name or name
            take = self._attempt if name == ATTEMPT_LOG else self._request
            for entry in message.http_logs.log_entry:
                try:
                    take(entry)
                except Exception:
                    log.exception("an access log entry could not be used; please report this")
                    self._metrics.failures.inc()
            self._metrics.flush()
        return b""

    def _attempt(self, entry: Entry) -> None:
        """One attempt that went wrong; Envoy reports no others here."""
        provider, now_s = entry.common_properties.upstream_cluster, self._clock()
        if not provider:
            return
        outcome = outcome_of(entry)
        self._complaints.heard(_attempt_of(entry, provider), now_s)
        if outcome == "limited":
            self._providers.limited(provider, now_s, retry_after_s(entry, now_s) or 0.0)
        elif outcome == "failed":
            self._providers.failed(provider, now_s)
            outcome = f"failed_{entry.response.response_code.value or 'no_answer'}"
        self._metrics.attempts.add(1, provider, outcome)

    def _request(self, entry: Entry) -> None:
        common, status = entry.common_properties, entry.response.response_code.value
        if not common.upstream_cluster:
            return
        # Without a host of its own an answer is Envoy's, or our refusal.
        provider = common.upstream_cluster if common.HasField("upstream_remote_address") else ""
        carried = common.metadata.filter_metadata["limpet.record"].fields["v"].string_value
        record = records.decode(carried) if carried else None
        outcome = outcome_of(entry)
        self._metrics.requests.add(1, provider or "none", _reason(entry, record), outcome)
        usage = None
        if provider and outcome == "ok":
            self._providers.succeeded(provider, self._clock(), _first_byte_s(common))
            self._metrics.attempts.add(1, provider, "ok")
            self._complaints.answered(provider, record.model if record else "")
            usage = self._usage(common, provider, record)
        if record is None:
            return
        self._learn(record, common.upstream_cluster, common.upstream_request_attempt_count, outcome, usage)
        if self._verbose is not None:
            self._verbose(record, common.upstream_cluster, status, usage, _seconds(common.duration))

    def _learn(self, record: Record, provider: str, attempts: int, outcome: str, usage: Usage | None) -> None:
        """Forget who failed, remember who served."""
        if not record.learn:
            return
        key = bytes.fromhex(record.key)
        for failed in record.order[: max(0, attempts - 1)]:
            if failed != provider:
                self._memory.forget(key, failed)
        position = record.order.index(provider) if provider in record.order else -1
        ttl_s = record.ttls_s[position] if position >= 0 else 0.0
        if outcome in ("client_left", "refused"):
            return  # neither says anything about what is warm there
        if outcome != "ok" or ttl_s <= 0:
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
        usage = usages.parse(reported.value) if reported is not None else None
        if usage is None:
            self._metrics.unreported.add(1, provider)
            return None
        model = record.model if record else ""
        self._metrics.prompt_tokens.add(usage.prompt, provider, model)
        self._metrics.output_tokens.add(usage.output, provider, model)
        self._metrics.cached_tokens.add(usage.cached or 0, provider, model)
        self._caches.read(provider, usage.prompt, usage.cached or 0)
        return usage


_CAUSES: Final[dict[int, Cause]] = {401: "CredentialRefused", 402: "NoCredit", 404: "ModelNotFound", 429: "Limited"}


def _attempt_of(entry: Entry, provider: str) -> Attempt:
    status = entry.response.response_code.value
    cause: Cause = _CAUSES.get(status, "ServerError" if status >= 500 else "")
    return Attempt(provider, "", status, "failed" if cause else "refused", cause)


def _reason(entry: Entry, record: Record | None) -> str:
    """Why the request went where it went: the decision's reason, our refusal's, or what Envoy says for itself."""
    details: str = entry.response.response_code_details
    if details.startswith(_OURS):
        return details[len(_OURS) :]
    if record is not None:
        return record.reason
    reason: str = entry.common_properties.metadata.filter_metadata["limpet.decision"].fields["reason"].string_value
    return reason


def outcome_of(entry: Entry) -> str:
    """`ok`, `failed`, `limited` (a 429 that says how long), `refused` (the request's own fault) or `client_left`."""
    status, common = entry.response.response_code.value, entry.common_properties
    if common.HasField("response_flags") and any(getattr(common.response_flags, flag) for flag in _UPSTREAM_FLAGS):
        return "failed"
    if status == 0:
        return "client_left"
    if status == 429 and retry_after_s(entry, 0.0) is not None:
        return "limited"
    if status >= 500 or status in _PROVIDERS_FAULT:
        return "failed"
    return "ok" if status < 400 else "refused"


def retry_after_s(entry: Entry, now_s: float) -> float | None:
    """Seconds from now that `retry-after` asks for, in either of its two forms; None if it is neither."""
    text = entry.response.response_headers["retry-after"]
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now_s)
    except ValueError:
        return None


def _first_byte_s(common: Common) -> float | None:
    """From the first byte sent to the provider to the first one back, in the attempt that answered."""
    waited_s = _seconds(common.time_to_first_upstream_rx_byte) - _seconds(common.time_to_first_upstream_tx_byte)
    return waited_s if waited_s > 0 else None


def _seconds(duration: Any) -> float:
    seconds: float = duration.seconds + duration.nanos / 1e9
    return seconds
