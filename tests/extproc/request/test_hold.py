"""First turns with one head wait for the first of them, where the policy says so, and no longer."""

import asyncio
from typing import Any

import msgspec
import pytest
from tests.extproc.conftest import Make
from tests.extproc.hand_clock import HandClock
from tests.extproc.request.test_router import Routed, hashes_of

from limpet_extproc.contract.catalog import CacheFields, Limits
from limpet_extproc.decision.clients import Client
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.memory.in_process_heads import InProcessHeads
from limpet_extproc.providers.limit_events import RequestSent
from limpet_extproc.request.hold import POLL_S, HeadWaits
from limpet_extproc.request.routing import Routing

NOW = 1000.0
HASHES = [b"shortest", b"longer !"]


class Waiting:
    """A memory, a clock, and what happens while a request sleeps."""

    def __init__(self) -> None:
        self.heads = InProcessHeads()
        self.clock = HandClock(NOW)
        self.begins_s = self.fails_s = float("inf")
        self.slept = 0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)  # whoever goes on does so now
        self.clock.now_s += seconds
        self.slept += 1
        if self.clock.now_s >= self.fails_s:
            self.heads.drop(HASHES, "a")
        if self.clock.now_s >= self.begins_s:
            self.heads.note(HASHES, "a", NOW + 300, self.clock.now_s)

    async def waited_s(self, most_s: float) -> float:
        coming = await self.heads.lookup(HASHES, NOW)
        begun = await HeadWaits(self.heads, self.clock, self.sleep).begun(HASHES[0], coming, most_s)
        assert begun == await self.heads.lookup(HASHES, self.clock.now_s)
        return self.clock.now_s - NOW


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


async def test_a_request_waits_until_the_first_answer_begins(waiting: Waiting) -> None:
    waiting.heads.expect(HASHES, "a", NOW)
    waiting.begins_s = NOW + 0.7
    assert 0.7 <= await waiting.waited_s(2.0) <= 0.7 + POLL_S


async def test_a_request_waits_no_longer_than_it_may(waiting: Waiting) -> None:
    waiting.heads.expect(HASHES, "a", NOW)
    assert await waiting.waited_s(2.0) == pytest.approx(2.0)


async def test_a_request_does_not_wait_on_for_what_failed(waiting: Waiting) -> None:
    waiting.heads.expect(HASHES, "a", NOW)
    waiting.fails_s = NOW + 0.7
    assert 0.7 <= await waiting.waited_s(2.0) <= 0.7 + POLL_S


async def test_those_that_wait_for_the_same_ask_the_memory_once(waiting: Waiting) -> None:
    waiting.heads.expect(HASHES, "a", NOW)
    waits = HeadWaits(waiting.heads, waiting.clock, waiting.sleep)
    coming = await waiting.heads.lookup(HASHES, NOW)
    ended_s: dict[float, float] = {}

    async def wait(most_s: float) -> None:
        await waits.begun(HASHES[0], coming, most_s)
        ended_s[most_s] = waiting.clock.now_s - NOW

    await asyncio.gather(*(wait(most_s) for most_s in (0.5, 1.0, 2.0)))
    assert ended_s == pytest.approx({0.5: 0.5, 1.0: 1.0, 2.0: 2.0})
    assert waiting.slept == pytest.approx(2.0 / POLL_S, abs=3)


async def test_a_request_whose_client_leaves_is_not_waited_with(waiting: Waiting) -> None:
    waiting.heads.expect(HASHES, "a", NOW)
    asleep, wakes = asyncio.Event(), asyncio.Event()

    async def sleep(_seconds: float) -> None:
        asleep.set()
        await wakes.wait()

    waits = HeadWaits(waiting.heads, waiting.clock, sleep)
    held = asyncio.create_task(waits.begun(HASHES[0], await waiting.heads.lookup(HASHES, NOW), 2.0))
    await asleep.wait()
    held.cancel()
    await asyncio.gather(held, return_exceptions=True)
    waiting.heads.note(HASHES, "a", NOW + 300, NOW)
    wakes.set()
    assert await waits.begun(HASHES[0], await waiting.heads.lookup(HASHES, NOW), 2.0)


async def held_s(world: Routed, *bodies: bytes) -> float:
    """How long the second of two first turns was held."""
    first, second = [(await world.route(body)).record.started_s for body in bodies]
    return second - first


@pytest.mark.parametrize(
    ("provider", "waits_s"),
    [
        ({}, 1.5),
        ({"min_tokens": 4096}, 0.0),
        ({"cache_fields": CacheFields({"OpenAIChat": "Blocks"}, only_marked=True)}, 0.0),
    ],
    ids=["whatever is shared", "longer ones", "what ends at a mark"],
)
async def test_a_request_waits_for_what_its_cache_keeps(make: Make, provider: dict[str, Any], waits_s: float) -> None:
    def body(name: str) -> bytes:
        marked = {"type": "text", "text": "s" * 5000 + f"unique {name} " * 4000, "cache_control": {"type": "ephemeral"}}
        messages = [{"role": "system", "content": [marked]}, {"role": "user", "content": "q"}]
        return msgspec.json.encode({"model": "flash", "session_id": name, "messages": messages})

    world = Routed(make.snapshot(make.provider("a", **provider), hold_first_s=1.5))
    assert await held_s(world, body("one"), body("other")) == pytest.approx(waits_s)


@pytest.mark.parametrize("fallbacks", [True, False])
async def test_a_request_does_not_wait_for_a_place_where_its_client_does_not_want_it(
    make: Make, fallbacks: bool
) -> None:
    world = Routed(make.snapshot(make.provider("a"), make.provider("b"), hold_first_s=1.5))
    first = await world.route(make.body("x" * 10_000, session_id="one"))
    (other,) = {"a", "b"} - {first.decision.order[0]}
    steering = {"order": [other], "allow_fallbacks": fallbacks}
    second = await world.route(make.body("x" * 10_000, session_id="other", provider=steering))
    assert second.record.started_s == first.record.started_s
    steering = {"order": [first.decision.order[0]], "allow_fallbacks": fallbacks}
    third = await world.route(make.body("x" * 10_000, session_id="third", provider=steering))
    assert third.record.started_s == pytest.approx(first.record.started_s + 1.5)


@pytest.mark.parametrize(
    ("warm", "waits_s"), [(2, 0.0), (1, 1.5), (0, 1.5)], ids=["all of it", "the shortest", "nothing"]
)
async def test_what_is_warm_elsewhere_is_not_waited_for(make: Make, warm: int, waits_s: float) -> None:
    world = Routed(make.snapshot(make.provider("a"), make.provider("b"), hold_first_s=1.5))
    first = await world.route(make.body("x" * 10_000, session_id="one"))
    (other,) = {"a", "b"} - {first.decision.order[0]}
    hashes = hashes_of(first)
    if warm:
        world.heads.note(hashes if warm == 2 else hashes[:1], other, NOW + 300, NOW)
    second = await world.route(make.body("x" * 10_000, session_id="other"))
    assert second.record.started_s == pytest.approx(first.record.started_s + waits_s)


@pytest.mark.parametrize(("hold_s", "waited_s"), [(0.0, 0.0), (1.5, 1.5)])
async def test_only_where_the_policy_says_so(make: Make, hold_s: float, waited_s: float) -> None:
    world = Routed(make.snapshot(make.provider("a"), hold_first_s=hold_s))
    first, second = [await world.route(make.body("x" * 10_000, session_id=name)) for name in ("one", "other")]
    assert second.record.started_s - first.record.started_s == pytest.approx(waited_s)
    assert first.tells_early is second.tells_early is (hold_s > 0)
    world.heads.note(hashes_of(first), "a", NOW + 300, NOW)
    third = await world.route(make.body("x" * 10_000, session_id="third"))
    assert third.record.started_s == second.record.started_s


@pytest.mark.parametrize(("end", "held"), [("warm", POLL_S), ("gone", POLL_S), ("gave_up", 1.5)])
async def test_it_is_told_how_a_request_was_held(make: Make, end: str, held: float) -> None:
    world = Routed(make.snapshot(make.provider("a"), hold_first_s=1.5))
    first = await world.route(make.body("x" * 10_000, session_id="one"))
    hashes = hashes_of(first)
    if end == "warm":
        world.meanwhile = lambda: world.heads.note(hashes, "a", NOW + 300, NOW)
    elif end == "gone":
        world.meanwhile = lambda: world.heads.drop(hashes, "a")
    await world.route(make.body("x" * 10_000, session_id="other"))
    ((ended, seconds),) = world.held
    assert ended == end
    assert seconds == pytest.approx(held)


async def test_it_is_told_that_the_client_of_a_held_request_has_left(make: Make) -> None:
    world = Routed(make.snapshot(make.provider("a"), hold_first_s=1.5))
    await world.route(make.body("x" * 10_000, session_id="one"))
    held = asyncio.create_task(world.route(make.body("x" * 10_000, session_id="other")))

    def leave() -> None:
        held.cancel()

    world.meanwhile = leave
    with pytest.raises(asyncio.CancelledError):
        await held
    assert [end for end, _ in world.held] == ["client_left"]


async def test_a_conversation_that_goes_on_waits_for_nobody(make: Make) -> None:
    world = Routed(make.snapshot(make.provider("a"), hold_first_s=1.0))
    started_s = [(await world.route(make.body("x" * 10_000))).record.started_s for _ in range(2)]
    assert started_s[0] == started_s[1]


async def test_those_that_were_held_do_not_go_beyond_their_clients_limit(make: Make) -> None:
    client = Client("robot", b"\nrobot", "@robot", limits=Limits(requests_per_minute=2))
    world = Routed(make.snapshot(make.provider("a"), hold_first_s=1.5))
    assert isinstance(await world.answer(make.body("x" * 10_000, session_id="first"), client=client), Routing)
    world.meanwhile = lambda: world.limit_use.apply(RequestSent(client.use, NOW, 10))
    answer = await world.answer(make.body("x" * 10_000, session_id="held"), client=client)
    assert isinstance(answer, Refusal)
    assert (answer.reason, answer.limit, answer.model) == ("refused.over_key_limit", "requestsPerMinute", "flash")
