"""Sticky routing: what is remembered decides, and what is under way is noted."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from tests.extproc.conftest import Make
from tests.extproc.hand_clock import HandClock

from limpet_extproc.contract.catalog import Limits, Model
from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.clients import Client
from limpet_extproc.decision.prefix import HEAD_HASH_BYTES
from limpet_extproc.decision.snapshot import Snapshot
from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.memory import PENDING_S, LastFailure, Remembered, ServedTurn, Warm
from limpet_extproc.memory.heads import WarmHead
from limpet_extproc.memory.in_process import InProcessMemory
from limpet_extproc.memory.in_process_heads import InProcessHeads
from limpet_extproc.memory.in_process_objects import InProcessObjects
from limpet_extproc.providers.events import AttemptFailed
from limpet_extproc.providers.limit_use import LimitUse
from limpet_extproc.providers.tracker import ProviderTracker
from limpet_extproc.request.debugging import DecisionWatch
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.pins import Pins
from limpet_extproc.request.reading import RequestReader
from limpet_extproc.request.router import StickyRouting
from limpet_extproc.request.routing import Routing

NOW = 1000.0


class Routed:
    """Sticky routing with its memory and provider states."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.memory, self.heads = InProcessMemory(), InProcessHeads()
        self.clock = HandClock(NOW)
        self.held: list[tuple[str, float]] = []
        self.meanwhile: Callable[[], None] = lambda: None
        """What happens while a request is held."""
        self.limit_use = LimitUse("node/0", self.clock)
        self.tracker = ProviderTracker(self.clock, lambda _change: None, used=self.limit_use.used)
        self._router = StickyRouting(
            RequestReader().read,
            lambda: snapshot,
            self.memory,
            self.heads,
            self.tracker,
            self.limit_use,
            Pins(InProcessObjects(), b"secret", self.clock),
            b"secret",
            self.clock,
            lambda: b"seed",
            RequestReader().untranslatable,
            RequestReader().references,
            self._sleep,
            lambda end, seconds: self.held.append((end, seconds)),
        )

    async def _sleep(self, seconds: float) -> None:
        self.clock.now_s += seconds
        self.meanwhile()

    async def answer(
        self, body: bytes, watch: DecisionWatch | None = None, client: Client | None = None
    ) -> Routing | Refusal:
        return await self._router.route(RequestHead(OpenAIChat(), {}, client=client), body, watch)

    async def route(self, body: bytes) -> Routing:
        routing = await self.answer(body)
        assert isinstance(routing, Routing)
        return routing


@pytest.fixture
def routed(make: Make) -> Callable[..., Routed]:
    return lambda *providers, **policy: Routed(make.snapshot(*providers, **policy))


@pytest.mark.parametrize(("body", "status"), [(b"{", 400), (b'{"model":"x","messages":[{"role":"user"}]}', 404)])
async def test_a_request_that_is_refused_leaves_no_trace(
    make: Make, routed: Callable[..., Routed], body: bytes, status: int
) -> None:
    world = routed(make.provider("a"))
    refusal = await world.answer(body)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, len(world.memory)) == (status, 0)


async def test_a_second_request_before_the_first_ones_outcome_follows_it(
    make: Make, routed: Callable[..., Routed]
) -> None:
    world = routed(*map(make.provider, "abcd"))
    first, second = [(await world.route(make.body())).decision for _ in range(2)]
    assert (first.reason, second.reason) == ("first.scored", "sticky.pending")
    assert first.order[0] == second.order[0]


async def test_after_a_failed_first_request_the_next_one_is_expected_elsewhere(
    make: Make, routed: Callable[..., Routed]
) -> None:
    world = routed(*map(make.provider, "abcd"))
    first = await world.route(make.body())
    home = first.decision.order[0]
    world.memory.note_failure(first.record.key, LastFailure((home,), NOW))
    second, third = [(await world.route(make.body())).decision for _ in range(2)]
    assert (second.reason, third.reason) == ("sticky.left.failed", "sticky.pending")
    assert second.order[0] == third.order[0] != home


@pytest.mark.parametrize(
    ("fields", "provider", "policy"),
    [
        ({"provider": {"order": ["a"]}}, {}, {}),
        ({}, {"caches": False}, {}),
        ({}, {}, {"mode": "Off"}),
    ],
)
async def test_nothing_is_expected_of_a_request_that_will_not_be_remembered(
    make: Make, routed: Callable[..., Routed], fields: dict[str, Any], provider: dict[str, Any], policy: dict[str, Any]
) -> None:
    world = routed(make.provider("a", **provider), **policy)
    await world.route(make.body(**fields))
    assert len(world.memory) == 0


async def test_what_is_remembered_decides(make: Make, routed: Callable[..., Routed]) -> None:
    world = routed(make.provider("a"), make.provider("b"), spread_within_percent=0.0)
    key = (await world.route(make.body())).record.key
    world.memory.remember(key, Warm("b", NOW + 60), 4, NOW)
    decision = (await world.route(make.body())).decision
    assert (decision.reason, decision.order[0]) == ("sticky.hit", "b")
    assert await world.memory.lookup(key, NOW) == Remembered((Warm("b", NOW + 60),))


async def test_only_one_request_at_a_time_tries_a_provider_again(make: Make, routed: Callable[..., Routed]) -> None:
    world = routed(make.provider("a"))
    for _ in range(3):
        world.tracker.apply(AttemptFailed("a"))
    world.clock.now_s += 100
    reasons = [(await world.route(make.body())).decision.reason for _ in range(2)]
    assert reasons == ["first.scored", "last_resort.all_out"]


async def test_a_request_counts_against_the_limits_of_where_it_is_sent(
    make: Make, routed: Callable[..., Routed]
) -> None:
    limits = Limits(requests_per_minute=2)
    world = routed(make.provider("a", limits=limits), make.provider("b"), spread_within_percent=0.0)
    key_of_a = (await world.route(make.body(provider={"order": ["a"]}))).record.key
    world.memory.remember(key_of_a, Warm("a", NOW + 60), 4, NOW)
    decisions = [(await world.route(make.body())).decision for _ in range(2)]
    assert [(each.order[0], each.reason) for each in decisions] == [
        ("a", "sticky.hit"),
        ("b", "sticky.left.over_limit"),
    ]
    used = world.limit_use.used("a", NOW)
    assert (used.under_way, used.requests) == (2, 2)
    assert used.tokens > 2 * 400, "of the prompt, and of the answer that is expected"
    assert world.limit_use.known == 1, "nothing is counted where there are no limits"


@pytest.mark.parametrize(
    ("model", "text", "before"),
    [
        ("pro", "Hi", "flash"),
        ("pro", "Another conversation", ""),
        ("flash", "Hi", ""),  # it is remembered
    ],
)
async def test_a_conversation_that_changes_its_model_is_recognised(
    make: Make, routed: Callable[..., Routed], model: str, text: str, before: str
) -> None:
    both = replace(make.provider("a"), models=tuple(Model(each, each, 0, make.price) for each in ("pro", "flash")))
    world = routed(both)

    def asked(opening: str, model: str) -> bytes:
        turns = [{"role": "user", "content": opening}, {"role": "assistant", "content": "Yes."}]
        return msgspec.json.encode({"model": model, "messages": [*turns, {"role": "user", "content": "And?"}]})

    first = await world.route(asked("Hi", "flash"))
    world.memory.remember(first.record.key, Warm("a", world.clock.now_s + 60), 4, world.clock.now_s)
    assert (await world.route(asked(text, model))).record.cache.model_before == before


def hashes_of(routing: Routing) -> list[bytes]:
    """Of the heads of its prompt."""
    found = routing.record.heads
    return [found[at : at + HEAD_HASH_BYTES] for at in range(0, len(found), HEAD_HASH_BYTES)]


async def test_the_heads_of_a_first_turn_are_on_their_way(make: Make, routed: Callable[..., Routed]) -> None:
    world = routed(*map(make.provider, "abcd"))
    first = await world.route(make.body("x" * 10_000))
    hashes = hashes_of(first)
    assert len(hashes) == 4
    place = (WarmHead(first.decision.order[0], NOW + PENDING_S, NOW),)
    assert await world.heads.lookup(hashes, NOW) == dict.fromkeys(hashes, place)
    world.clock.now_s += 1
    await world.route(make.body("x" * 10_000))
    assert await world.heads.lookup(hashes, NOW) == dict.fromkeys(hashes, place)


async def test_a_conversation_that_comes_back_cold_goes_where_others_keep_its_head_warm(
    make: Make, routed: Callable[..., Routed]
) -> None:
    world = routed(*map(make.provider, "ab"))
    first = await world.route(make.body("x" * 100_000))
    home = first.decision.order[0]
    (other,) = {"a", "b"} - {home}
    world.memory.remember(first.record.key, Warm(home, NOW + 300, 25_000), 4, NOW)
    world.clock.now_s += 1000
    world.heads.note(hashes_of(first), other, world.clock.now_s + 300, world.clock.now_s)
    assert (await world.route(make.body("x" * 100_000))).decision.order[0] == other


async def test_a_warm_conversation_knows_where_else_its_head_is_warm_and_does_not_wait_for_it(
    make: Make, routed: Callable[..., Routed]
) -> None:
    prices = {"a": Price(1.0, 1.0, 0.9, 1.0), "b": Price(0.9, 0.9, 0.01, 0.9)}
    world = routed(*(make.provider(name, price=price) for name, price in prices.items()), hold_first_s=5.0)
    body = make.body("x" * 100_000)
    first = await world.route(body)
    key, turn = first.record.key, ServedTurn(NOW, 25_000, 100, cached_tokens=20_000)
    world.memory.remember(key, Warm("a", NOW + 300, 25_000), 4, NOW, turn)
    world.heads.expect(hashes_of(first), "b", NOW)
    went = (await world.route(body)).decision
    assert (went.reason, went.order[0], world.clock.now_s) == ("sticky.moved.cheaper", "b", NOW)
    assert went.warmth.coming == ("b",)
    assert went.warmth.tokens["b"] > 15_000


@pytest.mark.parametrize(("turns", "expected"), [(1, True), (2, False)], ids=["first", "later"])
async def test_the_record_of_a_first_turn_says_that_it_is_expected(
    make: Make, routed: Callable[..., Routed], turns: int, expected: bool
) -> None:
    world = routed(make.provider("a"))
    record = (await world.route(make.body("x" * 10_000))).record
    for _ in range(turns - 1):
        key = record.key
        world.memory.remember(key, Warm("a", NOW + 60), 4, NOW)
        record = (await world.route(make.body("x" * 10_000))).record
    assert record.expected is expected


async def test_heads_that_are_warm_where_a_first_turn_goes_are_not_on_their_way(
    make: Make, routed: Callable[..., Routed]
) -> None:
    world = routed(make.provider("a"))
    hashes = hashes_of(await world.route(make.body("x" * 10_000)))
    world.heads.note(hashes, "a", NOW + 60, NOW)
    await world.route(make.body("x" * 10_000, session_id="another one"))
    assert await world.heads.lookup(hashes, NOW) == dict.fromkeys(hashes, (WarmHead("a", NOW + 60),))


@pytest.mark.parametrize(
    ("text", "provider", "policy"),
    [("short", {}, {}), ("x" * 10_000, {"caches": False}, {}), ("x" * 10_000, {}, {"mode": "Off"})],
    ids=["short", "nobody caches", "off"],
)
async def test_a_prompt_without_a_head_that_matters_leaves_none(
    make: Make, routed: Callable[..., Routed], text: str, provider: dict[str, Any], policy: dict[str, Any]
) -> None:
    world = routed(make.provider("a", **provider), **policy)
    assert (await world.route(make.body(text))).record.heads == b""
    assert len(world.heads) == 0


@pytest.mark.parametrize("divided", ["a", "b", ""])
async def test_a_head_is_not_looked_for_where_each_conversation_has_a_cache_of_its_own(
    make: Make, routed: Callable[..., Routed], divided: str
) -> None:
    world = routed(*(make.provider(name, affinity_header="x-to" if name == divided else "") for name in "ab"))
    first = await world.route(make.body("x" * 10_000))
    home = first.decision.order[0]
    known = await world.heads.lookup(hashes_of(first), NOW)
    assert bool(known) is (home != divided)
    world.heads.drop(hashes_of(first), home)
    world.heads.note(hashes_of(first), "a", NOW + 60, NOW)
    second = await world.route(make.body("x" * 10_000, session_id="another one"))
    if divided != "a":
        assert (second.decision.reason, second.decision.order[0]) == ("first.warm_head", "a")
    else:
        assert second.decision.order[0] == home


async def test_a_hot_head_is_warmed_at_a_second_provider_when_the_first_is_at_its_limits(
    make: Make, routed: Callable[..., Routed]
) -> None:
    limits = Limits(requests_per_minute=3)
    world = routed(*(make.provider(name, limits=limits) for name in "ab"))
    homes, hashes = [], []
    for number in range(5):
        routing = await world.route(make.body("x" * 10_000 + f"question {number}"))
        homes.append(routing.decision.order[0])
        hashes = hashes_of(routing)
        world.heads.note(hashes, homes[-1], world.clock.now_s + 300, world.clock.now_s)
    assert len(set(homes[:3])) == len(set(homes[3:])) == 1
    assert set(homes) == {"a", "b"}
    known = await world.heads.lookup(hashes, NOW)
    assert {place.provider for place in known[hashes[0]]} == {"a", "b"}


async def test_what_is_only_watched_leaves_no_trace(make: Make, routed: Callable[..., Routed]) -> None:
    limited, dear = make.provider("a", limits=Limits(requests_per_minute=1)), make.price.times(9.0)
    world = routed(limited, make.provider("b", price=dear), spread_within_percent=0.0, hold_first_s=5.0)
    await world.route(make.body("x" * 10_000, provider={"order": ["b"]}))
    for _ in range(3):
        watch = DecisionWatch(alone=True)
        routing = await world.answer(make.body("x" * 10_000), watch)
        assert isinstance(routing, Routing)
        assert (routing.decision.reason, routing.decision.order[0]) == ("first.scored", "a")
        assert watch.considered is not None
    assert (len(world.memory), len(world.heads), world.held) == (0, 0, [])
    assert world.limit_use.used("a", NOW).requests == 0


async def test_what_is_watched_beside_is_decided_as_ever(make: Make, routed: Callable[..., Routed]) -> None:
    world = routed(make.provider("a"))
    watch = DecisionWatch(alone=False)
    await world.answer(make.body("x" * 10_000), watch)
    assert watch.considered is not None
    assert len(world.memory) == 1
