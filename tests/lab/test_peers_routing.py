"""Peers' rules over our parser: whole requests in, orders and records out."""

import json
from typing import Any

import pytest

from limpet_extproc.contract.catalog import Catalog, CatalogProvider, Model, Policy
from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.snapshot import snapshot
from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.memory import Warm
from limpet_extproc.providers.events import AttemptFailed
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.reading import RequestReader
from limpet_extproc.request.routing import Routing
from limpet_lab.peers.routing import Outages, PeerRouting
from limpet_lab.peers.rule_sets import RULE_SETS, RuleSetName
from limpet_lab.peers.stickiness import IDLE_S

MODEL = "flash"


def _catalog(cache_read: float = 0.003, providers: str = "abc") -> Catalog:
    price = Price(input=0.15, output=0.6, cache_read=cache_read, cache_write=0.15)
    served = tuple(CatalogProvider(name, (Model(MODEL, f"flash.{name}", price=price),)) for name in providers)
    return Catalog("1", served, (Policy(max_attempts=1),))


class _Harness:
    """A peer whose clock and randomness the test controls."""

    def __init__(self, rules: RuleSetName, catalog: Catalog | None = None) -> None:
        rule_set, new_memory = RULE_SETS[rules]
        self.memory, self.now_s, self.seeds = new_memory(), 1_000.0, 0
        self.outages = Outages(lambda: self.now_s)
        tables = snapshot(catalog or _catalog())
        self.peer = PeerRouting(
            rule_set,
            RequestReader().read,
            lambda: tables,
            self.memory,
            self.outages,
            b"secret",
            lambda: self.now_s,
            self._random_seed,
        )

    def _random_seed(self) -> bytes:
        self.seeds += 1
        return self.seeds.to_bytes(8, "big")

    async def ask(self, text: str = "hello", headers: dict[str, str] | None = None, **fields: Any) -> Routing | Refusal:
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], **fields}
        return await self.peer.route(RequestHead(OpenAIChat(), headers or {}), json.dumps(body).encode())

    async def route(self, text: str = "hello", headers: dict[str, str] | None = None, **fields: Any) -> Routing:
        routing = await self.ask(text, headers, **fields)
        assert isinstance(routing, Routing)
        return routing

    def served(self, routing: Routing, cached: int) -> None:
        """What the access log would report of a success."""
        provider, ttl_s = routing.record.order[0], routing.record.ttls_s[0]
        warm = Warm(provider, self.now_s + ttl_s, 100, cached)
        if ttl_s > 0:
            self.memory.remember(routing.record.key, warm, 4, self.now_s)


async def _firsts(harness: _Harness, times: int = 40, **fields: Any) -> set[str]:
    return {(await harness.route(**fields)).decision.order[0] for _ in range(times)}


async def test_without_memory_the_same_request_goes_everywhere() -> None:
    harness = _Harness("no_memory")
    harness.served(await harness.route(), cached=4_096)
    assert await _firsts(harness) == {"a", "b", "c"}
    assert (await harness.route()).decision.reason == "off.spread"


@pytest.mark.parametrize(
    ("cached", "how", "sticky"),
    [
        (0, {}, False),
        (4_096, {}, True),
        (0, {"headers": {"x-session-id": "s"}}, True),
        (0, {"session_id": "s"}, True),
        (0, {"prompt_cache_key": "s"}, True),
        (0, {"headers": {"x-session-affinity": "s"}}, False),
    ],
)
async def test_openrouter_stays_after_a_hit_or_for_a_named_session(
    cached: int, how: dict[str, Any], sticky: bool
) -> None:
    harness = _Harness("openrouter")
    first = await harness.route(**how)
    harness.served(first, cached)
    firsts = await _firsts(harness, **how)
    assert firsts == ({first.decision.order[0]} if sticky else {"a", "b", "c"})
    assert (await harness.route(**how)).decision.reason == ("sticky.hit" if sticky else "first.scored")


async def test_openrouter_is_not_sticky_where_reading_is_no_cheaper() -> None:
    harness = _Harness("openrouter", _catalog(cache_read=0.15))
    routing = await harness.route()
    assert routing.record.ttls_s == (0.0, 0.0, 0.0)


async def test_records_carry_the_peers_order_and_lifetime() -> None:
    routing = await _Harness("openrouter").route()
    assert routing.record.order == routing.decision.order
    assert routing.record.ttls_s == (IDLE_S,) * 3
    assert routing.record.learn
    assert routing.edits is not None, "every seller has another name for the model"


async def test_a_clients_order_is_obeyed_and_not_remembered() -> None:
    harness = _Harness("openrouter")
    harness.served(await harness.route(), cached=4_096)
    routing = await harness.route(provider={"order": ["c", "a"]})
    assert routing.decision.order[:2] == ("c", "a")
    assert not routing.record.learn


async def test_openrouter_puts_an_outage_last_for_thirty_seconds() -> None:
    harness = _Harness("openrouter")
    harness.outages.apply(AttemptFailed("a"))
    assert await _firsts(harness) == {"b", "c"}
    assert (await harness.route()).decision.order[-1] == "a"
    harness.now_s += 30.0
    assert await _firsts(harness) == {"a", "b", "c"}


async def test_at_most_three_of_many_are_tried() -> None:
    harness = _Harness("no_memory", _catalog(providers="abcdef"))
    assert len((await harness.route()).decision.order) == 3
    assert await _firsts(harness, 200) == set("abcdef")


async def test_bad_requests_are_refused_as_ours_are() -> None:
    refusal = await _Harness("openrouter").ask(model="unknown")
    assert isinstance(refusal, Refusal)
    assert refusal.status == 404
