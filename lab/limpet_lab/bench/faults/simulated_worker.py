"""A worker without Envoy: real reading, memory, decision and health, fed with the log entries that Envoy would send."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2
from prometheus_client import CollectorRegistry

from limpet_extproc.contract import record as records
from limpet_extproc.contract.attempt import Attempt
from limpet_extproc.contract.catalog import Catalog
from limpet_extproc.contract.envoy import (
    RECORD_METADATA,
    RECORD_TEXT,
    TRAIL_CAUSE,
    TRAIL_METADATA,
    TRAIL_OUTCOME,
    TRAIL_PROVIDER,
    TRAIL_STATUS,
    USAGE_CACHED,
    USAGE_METADATA,
    USAGE_OUTPUT,
    USAGE_PROMPT,
    USAGE_TOKENS,
)
from limpet_extproc.contract.record import Record
from limpet_extproc.decision.price import BYTES_PER_TOKEN
from limpet_extproc.decision.snapshot import snapshot
from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.envoy.limited_requests import LimitedRequests
from limpet_extproc.envoy.outcome import Outcomes
from limpet_extproc.memory.in_process import InProcessMemory
from limpet_extproc.memory.in_process_heads import InProcessHeads
from limpet_extproc.memory.in_process_objects import InProcessObjects
from limpet_extproc.providers.cache_use import CacheUses
from limpet_extproc.providers.complaints import Complaints
from limpet_extproc.providers.limit_use import LimitUse
from limpet_extproc.providers.timeouts import TimeoutCount
from limpet_extproc.providers.tracker import ProviderTracker
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.pins import Pins
from limpet_extproc.request.reading import RequestReader
from limpet_extproc.request.router import StickyRouting
from limpet_extproc.request.routing import Routing
from limpet_extproc.telemetry.metrics import WorkerMetrics

_FIRST_BYTE_MS: Final = 500


class SimulatedWorker:
    """One worker that remembers in its process; `clock` is its time, in Unix seconds."""

    def __init__(self, catalog: Catalog, clock: Callable[[], float]) -> None:
        tables = snapshot(catalog)
        memory, heads = InProcessMemory(), InProcessHeads()
        limit_use = LimitUse("simulated", clock, lambda _event: None)
        self._tracker = ProviderTracker(clock, lambda _change: None)
        pins = Pins(InProcessObjects(), b"secret", clock)
        reader = RequestReader()
        self._routing = StickyRouting(
            reader.read,
            lambda: tables,
            memory,
            heads,
            self._tracker,
            limit_use,
            pins,
            b"secret",
            clock,
            lambda: b"seed",
            reader.untranslatable,
            reader.references,
        )
        self._outcomes = Outcomes(
            memory,
            heads,
            pins,
            self._tracker,
            LimitedRequests(lambda: tables.limited, limit_use.apply),
            WorkerMetrics(CollectorRegistry()),
            CacheUses(clock),
            Complaints(lambda: None),
            TimeoutCount(clock),
            clock,
            lambda _provider: False,
        )
        self._decided: Record | None = None

    async def order(self, conversation: str, model: str, prompt_tokens: int) -> tuple[str, ...]:
        """The providers for the next turn of a conversation."""
        self._tracker.sweep()
        text = "x" * int(prompt_tokens * BYTES_PER_TOKEN)
        body = msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": text}]})
        routing = await self._routing.route(RequestHead(OpenAIChat(), {"x-session-id": conversation}), body)
        if not isinstance(routing, Routing):
            raise RuntimeError(routing.message)  # noqa: TRY004
        self._decided = routing.record
        return routing.decision.order

    async def learn(
        self, attempts: Sequence[Attempt], prompt_tokens: int, cached_tokens: int, output_tokens: int
    ) -> None:
        """What became of the request that was decided last: its log entry, as Envoy sends it after the answer."""
        message = als_pb2.StreamAccessLogsMessage()
        entry = message.http_logs.log_entry.add()
        _tell(entry, self._decided, attempts)
        usage = {USAGE_PROMPT: prompt_tokens, USAGE_CACHED: cached_tokens, USAGE_OUTPUT: output_tokens}
        if attempts[-1].outcome == "ok":
            entry.common_properties.metadata.filter_metadata[USAGE_METADATA].update({USAGE_TOKENS: usage})
        await self._outcomes.stream(_One(message.SerializeToString()))


class _One:
    """A log stream of one message."""

    def __init__(self, message: bytes) -> None:
        self._messages = [message]

    async def read(self) -> object:
        return self._messages.pop() if self._messages else None


def _tell(entry: accesslog_pb2.HTTPAccessLogEntry, record: Record | None, attempts: Sequence[Attempt]) -> None:
    common, last = entry.common_properties, attempts[-1]
    common.upstream_cluster = last.provider
    common.upstream_remote_address.socket_address.address = "192.0.2.1"
    common.upstream_request_attempt_count = len(attempts)
    common.time_to_first_upstream_rx_byte.FromMilliseconds(_FIRST_BYTE_MS)
    entry.response.response_code.value = last.status
    if record is not None:
        common.metadata.filter_metadata[RECORD_METADATA].update({RECORD_TEXT: records.encode(record)})
    for number, attempt in enumerate(attempts, 1):
        if attempt.outcome == "failed":
            note = {
                TRAIL_PROVIDER: attempt.provider,
                TRAIL_STATUS: str(attempt.status),
                TRAIL_OUTCOME: "failed",
                TRAIL_CAUSE: attempt.cause,
            }
            common.metadata.filter_metadata[TRAIL_METADATA].update({str(number): note})
