"""A worker without Envoy: real reading, memory, decision and health, fed with the log entries that Envoy would send."""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from prometheus_client import CollectorRegistry

from limpet_extproc.contract.attempt import Attempt
from limpet_extproc.contract.catalog import Catalog
from limpet_extproc.contract.envoy import USAGE_CACHED, USAGE_OUTPUT, USAGE_PROMPT
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
from limpet_lab.log_entry import FailedTry, log_of_request

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
        failures = [FailedTry(each.provider, each.status, each.cause) for each in attempts if each.outcome == "failed"]
        usage = {USAGE_PROMPT: prompt_tokens, USAGE_CACHED: cached_tokens, USAGE_OUTPUT: output_tokens}
        served = attempts[-1].provider if attempts[-1].outcome == "ok" else ""
        log = log_of_request(self._decided, failures, served, usage if served else None)
        log.entry.common_properties.time_to_first_upstream_rx_byte.FromMilliseconds(_FIRST_BYTE_MS)
        await self._outcomes.stream(log)
