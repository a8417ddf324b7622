"""Access log entries, built as Envoy sends them, and outcomes over a real memory and real counters."""

from collections.abc import Mapping, Sequence
from typing import Any

from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from limpet_extproc.contract import record as records
from limpet_extproc.contract.catalog import Limits
from limpet_extproc.contract.record import Record
from limpet_extproc.envoy.cluster_names import ClusterNames
from limpet_extproc.envoy.decision_line import RequestSummary
from limpet_extproc.envoy.limited_requests import LimitedRequests
from limpet_extproc.envoy.log_messages import LOG_ENTRY, Entry
from limpet_extproc.envoy.outcome import Outcomes
from limpet_extproc.envoy.usage import TokenUsage
from limpet_extproc.memory import Warm
from limpet_extproc.memory.in_process import InProcessMemory
from limpet_extproc.memory.in_process_heads import InProcessHeads
from limpet_extproc.memory.in_process_objects import InProcessObjects
from limpet_extproc.providers.cache_use import CacheUses
from limpet_extproc.providers.complaints import Complaints
from limpet_extproc.providers.health_states import HealthChange
from limpet_extproc.providers.limit_events import LimitEvent
from limpet_extproc.providers.timeouts import TimeoutCount
from limpet_extproc.providers.tracker import ProviderTracker
from limpet_extproc.request.pins import Pins
from limpet_extproc.telemetry.metrics import WorkerMetrics

NOW = 1_760_000_000.0
KEY = bytes(range(16))
RECORD = Record(
    key=KEY,
    model="flash",
    identified_by="fingerprint",
    reason="first.scored",
    enforce_reason=None,
    order=("a", "b", "c"),
    ttls_s=(300.0, 60.0, 0.0),
    started_s=NOW - 10,
    prompt_tokens=1000,
    max_providers=4,
    learn=True,
)
CONVERSATIONS = [replace(RECORD, key=bytes([number] * 16)) for number in range(5)]
"""The same request, of different ones."""
USAGE = {"prompt": 5000.0, "cached": 3840.0, "output": 10.0}
"""As the Lua of a cluster notes it."""


def entry(
    provider: str = "a",
    status: int = 200,
    *,
    record: Record | None = RECORD,
    usage: Mapping[str, Any] | None = USAGE,
    attempts: int = 1,
    flags: tuple[str, ...] = (),
    notes: dict[int, Any] | None = None,
    timed_out: bool = False,
    waited: int = 0,
    under_way: bool = False,
    body_bytes: int = 0,
    first_byte_s: float = 0.0,
    answered: bool = True,
    details: str = "via_upstream",
    made: str = "",
) -> Any:
    built = accesslog_pb2.HTTPAccessLogEntry()
    common = built.common_properties
    common.upstream_cluster = provider
    if provider and answered:
        common.upstream_remote_address.socket_address.address = "192.0.2.1"
    common.upstream_request_attempt_count = attempts
    common.duration.FromMilliseconds(1500)
    common.time_to_first_upstream_tx_byte.FromMilliseconds(5)
    common.time_to_first_upstream_rx_byte.FromMilliseconds(int(first_byte_s * 1000) + 5)
    built.response.response_code_details = details
    for flag in flags:
        setattr(common.response_flags, flag, True)
    built.response.response_code.value = status
    built.response.response_body_bytes = body_bytes
    if under_way:
        common.access_log_type = accesslog_pb2.AccessLogType.DownstreamPeriodic
    for number, noted in (notes or {}).items():
        common.metadata.filter_metadata["limpet.trail"].update({str(number): noted})
    if timed_out:
        common.metadata.filter_metadata["limpet.trail"].update({"timeout": True})
    if waited:
        common.metadata.filter_metadata["limpet.trail"].update({"waited": waited})
    if usage is not None:
        common.metadata.filter_metadata["limpet.usage"].update({"v": dict(usage)})
    common.metadata.filter_metadata["limpet.object"].update(
        {"id": made} if "," not in made else {"ids": made.split(",")}
    )
    if record is not None:
        fields = common.metadata.filter_metadata["limpet.decision"].fields
        fields["reason"].string_value = record.reason
        carried = common.metadata.filter_metadata["limpet.record"].fields
        carried["v"].string_value = records.encode(record)
    return built


def as_read(built: Any) -> Entry:
    """An entry as it comes out of a message of the log."""
    return LOG_ENTRY.FromString(built.SerializeToString())


def note(provider: str, status: int, cause: str, *, message: str = "", retry_after: str = "") -> dict[str, str]:
    """What the Lua of a cluster notes of an answer that was none."""
    refused = cause in ("BadRequest", "TooLarge", "ContentRefused")
    return {
        "provider": provider,
        "status": str(status),
        "verdict": "refused" if refused else "failed",
        "cause": cause,
        "says": message,
        "retry_after": retry_after,
    }


def bad(provider: str, status: int, cause: str, *, retry_after: str = "", **more: Any) -> Any:
    """A request whose only attempt ended so."""
    return entry(provider, status, notes={1: note(provider, status, cause, retry_after=retry_after)}, **more)


class Call:
    """The log stream as gRPC hands it over."""

    def __init__(self, *messages: bytes) -> None:
        self._messages = list(messages)

    async def read(self) -> object:
        return self._messages.pop(0) if self._messages else object()

    def unread(self) -> Sequence[bytes]:
        left, self._messages = self._messages, []
        return left


class World:
    """Outcomes over a real memory and real counters; notes who goes out or comes back and what a person is shown."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str | None]] = []
        self.shown: list[tuple[str, int, TokenUsage | None, float]] = []
        self.tried: list[list[str]] = []
        self.summaries: list[RequestSummary] = []
        self.memory, self.heads = InProcessMemory(), InProcessHeads()
        self.now_s = NOW
        self.tracker = ProviderTracker(lambda: self.now_s, self._changed)
        self.registry = CollectorRegistry()
        self.caches = CacheUses(lambda: NOW)
        self.complaints, self.timeouts = Complaints(lambda: None), TimeoutCount(lambda: NOW)
        metrics = WorkerMetrics(self.registry)
        self.limit_events: list[LimitEvent] = []
        limited = LimitedRequests(lambda: {"a": Limits(5), "b": Limits(5)}, self.limit_events.append)
        self.pins = Pins(InProcessObjects(), b"secret", lambda: self.now_s)
        self.outcomes = Outcomes(
            self.memory,
            self.heads,
            self.pins,
            self.tracker,
            limited,
            metrics,
            self.caches,
            self.complaints,
            self.timeouts,
            lambda: NOW,
            lambda provider: provider == "reporting",
            self._show,
            envoy_clock=lambda: self.now_s,
        )

    def _changed(self, change: HealthChange) -> None:
        self.changes.append((change.provider, change.now.trouble))

    def _show(self, summary: RequestSummary) -> None:
        provider = summary.attempts[-1].provider if summary.attempts else ""
        self.summaries.append(summary)
        self.shown.append((provider, summary.status, summary.usage, summary.duration_s))
        self.tried.append([f"{each.provider} {each.status or each.cause}" for each in summary.attempts])

    async def take(self, *entries: Any, names: ClusterNames | None = None) -> None:
        """One message an entry."""
        messages = []
        for each in entries:
            message = als_pb2.StreamAccessLogsMessage()
            message.http_logs.log_entry.append(each)
            messages.append(message.SerializeToString())
        assert await self.outcomes.stream(Call(*messages), names) == b""

    async def warm(self) -> tuple[Warm, ...]:
        remembered = await self.memory.lookup(KEY, NOW)
        return remembered.warm if remembered else ()

    async def failed(self) -> tuple[str, ...]:
        remembered = await self.memory.lookup(KEY, NOW)
        return remembered.failed_lately(NOW) if remembered else ()

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0
