"""A worker without Envoy, before simulated vendors' caches on a clock that is turned by hand.

Reading, decision, memory and outcome are production's own, from the bytes of a request to the cause of what it read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from envoy.service.accesslog.v3 import als_pb2
from prometheus_client import CollectorRegistry
from tests.extproc.envoy.log_world import Call, entry, note
from tests.extproc.hand_clock import HandClock

from limpet_extproc.contract.catalog import CacheFields, Catalog, CatalogProvider, Model, Policy
from limpet_extproc.contract.prices import Price
from limpet_extproc.contract.record import Record
from limpet_extproc.decision.snapshot import snapshot
from limpet_extproc.dialects.registry import spoken
from limpet_extproc.envoy.decision_line import RequestSummary
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
from limpet_lab.sim.breakpoints import BreakpointCache
from limpet_lab.sim.cache import PrefixCache, Reading
from limpet_lab.sim.chat import read_chat
from limpet_lab.sim.messages import read_messages
from limpet_lab.sim.prompt import Prompt, Ruler
from limpet_lab.sim.rules import rules_for

MODELS = ("flash", "pro")
NOW = 1_760_000_000.0
FIRST_BYTE_S = 1.0
PATHS = {"OpenAIChat": "/v1/chat/completions", "AnthropicMessages": "/v1/messages"}


@dataclass
class Vendor:
    """A provider with a vendor's cache and tokenizer."""

    name: str
    vendor: str
    chars_per_token: float = 2.9
    fails: int = 0
    """The status of its answers; 0: it is well."""
    reports: bool = True
    usd: float = 0.15
    least: Mapping[str, int] = field(default_factory=dict)
    """By model: the shortest prompt that is cached, where that is not as usual."""
    cache: PrefixCache | BreakpointCache = field(init=False)

    def __post_init__(self) -> None:
        self.rules = rules_for(self.vendor)
        self.cache = (BreakpointCache if self.rules.cache.only_marked else PrefixCache)(self.rules.cache)

    @property
    def marks_only(self) -> bool:
        return self.rules.cache.only_marked

    @property
    def ttl_s(self) -> float:
        return self.rules.cache.ttl_seconds or 3600.0

    def catalog_provider(self) -> CatalogProvider:
        price = Price(input=self.usd, output=self.usd * 4, cache_read=self.usd / 10, cache_write=self.usd)
        rules = self.rules
        return CatalogProvider(
            name=self.name,
            models=tuple(Model(each, each, self.least.get(each, rules.cache.min_tokens), price) for each in MODELS),
            dialects=tuple(each for each in PATHS if each in rules.dialects),  # type: ignore[misc]
            cache_ttl_s=self.ttl_s,
            cache_fields=CacheFields({"AnthropicMessages": "Blocks"}, only_marked=self.marks_only),
        )


@dataclass
class Flight:
    """A request that was sent and is not answered yet."""

    record: Record
    served: Vendor
    failed: Sequence[Vendor]
    prompt: Prompt
    reading: Reading
    started_s: float
    scope: int


class CauseWorld:
    """One conversation after another, or several at once, by `ask`, or by `begin` and `end`."""

    def __init__(self, *vendors: Vendor, **policy: Any) -> None:
        self.vendors = {vendor.name: vendor for vendor in vendors}
        self.policy = Policy(**policy)
        self.clock = HandClock(NOW)
        self.write: Callable[[Any], bytes] = msgspec.json.encode
        """A client's bodies."""
        self.summaries: list[RequestSummary] = []
        self.serve(*self.vendors)
        self.start()

    def serve(self, *names: str) -> None:
        """Providers that are there from now on."""
        providers = tuple(self.vendors[name].catalog_provider() for name in names)
        self.snapshot = snapshot(Catalog("1", providers, (self.policy,)))

    def start(self) -> None:
        """The worker, which remembers nothing yet."""
        clock, reader = self.clock, RequestReader()
        memory, heads, pins = InProcessMemory(), InProcessHeads(), Pins(InProcessObjects(), b"secret", clock)
        limit_use = LimitUse("node/0", clock)
        self.tracker = ProviderTracker(clock, lambda _change: None)
        self.router = StickyRouting(
            reader.read,
            lambda: self.snapshot,
            memory,
            heads,
            self.tracker,
            limit_use,
            pins,
            b"secret",
            clock,
            lambda: b"seed",
            reader.untranslatable,
            reader.references,
        )
        self.outcomes = Outcomes(
            memory,
            heads,
            pins,
            self.tracker,
            LimitedRequests(lambda: self.snapshot.limited, limit_use.apply),
            WorkerMetrics(CollectorRegistry()),
            CacheUses(clock),
            Complaints(lambda: None),
            TimeoutCount(clock),
            clock,
            lambda _provider: False,
            self.summaries.append,
        )

    def pass_s(self, seconds: float) -> None:
        self.clock.now_s += seconds
        self.tracker.sweep()

    async def ask(self, body: dict[str, Any], **headers: str) -> str:
        """The cause for a request that is answered before the next one comes."""
        return await self.end(await self.begin(body, **headers))

    async def begin(self, body: dict[str, Any], api: str = "OpenAIChat", **headers: str) -> Flight:
        """Decided, and read by the first provider of its order that is well."""
        data = self.write(body)
        found = spoken(PATHS[api], "")
        sent = {":path": PATHS[api], **{name.replace("_", "-"): value for name, value in headers.items()}}
        routing = await self.router.route(RequestHead(found.dialect, sent, found.api, found.asked), data)
        assert isinstance(routing, Routing), routing
        tried = [self.vendors[name] for name in routing.decision.order]
        served = next((each for each in tried if not each.fails), tried[-1])
        ruler = Ruler(served.chars_per_token)
        turn = read_chat(data, None).turn(ruler) if api == "OpenAIChat" else read_messages(data, None, ruler)
        scope = served.cache.scope("account", turn.model, body)
        reading = served.cache.read(turn.prompt, scope, self.clock.now_s, turn.marks)
        failed = tried[: tried.index(served)]
        return Flight(routing.record, served, failed, turn.prompt, reading, self.clock.now_s, scope)

    def ask_past_limpet(self, vendor: Vendor, body: dict[str, Any]) -> None:
        """By a client of the same account that Limpet does not see."""
        prompt = read_chat(msgspec.json.encode(body), None).turn(Ruler(vendor.chars_per_token)).prompt
        reading = vendor.cache.read(prompt, vendor.cache.scope("account", body["model"], body), self.clock.now_s)
        vendor.cache.write(reading, self.clock.now_s, self.clock.now_s + FIRST_BYTE_S)

    async def lose(self, vendor: Vendor, body: dict[str, Any], share: float) -> None:
        """The vendor drops the end of this conversation: of what its cache has of it, all but this share."""
        cache = vendor.cache
        assert isinstance(cache, PrefixCache)
        prompt = read_chat(msgspec.json.encode(body), None).turn(Ruler(vendor.chars_per_token)).prompt
        steps = cache.read(prompt, cache.scope("account", body["model"], body), self.clock.now_s).hashes
        cache.clear()
        cache.write(Reading(0, 0, steps[: int(len(steps) * share)]), self.clock.now_s, self.clock.now_s)

    async def end(self, flight: Flight, answer: str = "") -> str:
        """Answered, a second later. `answer`: kept by vendors that keep what they have said."""
        served, reading = flight.served, flight.reading
        self.pass_s(FIRST_BYTE_S)
        if served.fails:
            return await self._told(flight, None)
        served.cache.write(reading, flight.started_s, self.clock.now_s)
        if answer and served.rules.cache.cache_output:
            whole = flight.prompt.then({"role": "assistant", "content": answer})
            served.cache.extend(whole, flight.scope, flight.started_s, self.clock.now_s)
        usage = {"prompt": float(flight.prompt.tokens), "output": 40.0}
        if served.reports:
            usage["cached"] = float(reading.cached)
            if served.marks_only or "written" in served.rules.usage.values():
                usage["written"] = float(reading.written)
        return await self._told(flight, usage)

    async def _told(self, flight: Flight, usage: dict[str, float] | None) -> str:
        """The log entry of a request, which was answered if there is a usage."""
        served, failed = flight.served, flight.failed if usage else (*flight.failed, flight.served)
        notes = {
            number: note(each.name, each.fails, "Limited" if each.fails == 429 else "ServerError")
            for number, each in enumerate(failed, 1)
        }
        message = als_pb2.StreamAccessLogsMessage()
        built = entry(
            served.name,
            200 if usage else 503,
            record=flight.record,
            usage=usage,
            attempts=len(notes) + bool(usage),
            notes=notes,
            first_byte_s=0.9,
        )
        message.http_logs.log_entry.append(built)
        assert await self.outcomes.stream(Call(message.SerializeToString())) == b""
        return str(self.summaries[-1].finding)
