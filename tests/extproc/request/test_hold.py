"""First turns with one head wait for the first of them, where the policy says so, and no longer."""

import pytest
from tests.extproc.conftest import Make
from tests.extproc.hand_clock import HandClock
from tests.extproc.request.test_router import Routed, hashes_of

from limpet_extproc.memory.in_process_heads import InProcessHeads
from limpet_extproc.request.hold import POLL_S, when_begun

NOW = 1000.0
HASHES = [b"shortest", b"longer !"]


class Waiting:
    """A memory, a clock, and what happens while a request sleeps."""

    def __init__(self) -> None:
        self.heads = InProcessHeads()
        self.clock = HandClock(NOW)
        self.begins_s = float("inf")

    async def sleep(self, seconds: float) -> None:
        self.clock.now_s += seconds
        if self.clock.now_s >= self.begins_s:
            self.heads.note(HASHES, "a", NOW + 300, self.clock.now_s)

    async def waited_s(self, most_s: float) -> float:
        found = await self.heads.lookup(HASHES, NOW)
        await when_begun(self.heads, HASHES, found, most_s, self.clock, self.sleep)
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


async def test_a_request_does_not_wait_for_what_failed(waiting: Waiting) -> None:
    waiting.heads.expect(HASHES, "a", NOW)
    waiting.heads.drop(HASHES, "a")
    assert await waiting.waited_s(2.0) == 0.0


async def test_what_is_warm_somewhere_is_not_waited_for(waiting: Waiting) -> None:
    waiting.heads.note(HASHES, "b", NOW + 300, NOW)
    waiting.heads.expect(HASHES, "a", NOW)
    assert await waiting.waited_s(2.0) == 0.0


async def test_a_longer_head_that_nobody_has_is_waited_for(waiting: Waiting) -> None:
    waiting.heads.note(HASHES[:1], "b", NOW + 300, NOW)
    waiting.heads.expect(HASHES, "a", NOW)
    assert await waiting.waited_s(2.0) == pytest.approx(2.0)


@pytest.mark.parametrize(("hold_s", "waited_s"), [(0.0, 0.0), (1.5, 1.5)])
async def test_only_where_the_policy_says_so(make: Make, hold_s: float, waited_s: float) -> None:
    world = Routed(make.snapshot(make.provider("a"), hold_first_s=hold_s))
    first, second = [await world.route(make.body("x" * 10_000, session_id=name)) for name in ("one", "other")]
    assert second.record.started_s - first.record.started_s == pytest.approx(waited_s)
    assert first.tells_early is second.tells_early is (hold_s > 0)
    world.heads.note(hashes_of(first), "a", NOW + 300, NOW)
    third = await world.route(make.body("x" * 10_000, session_id="third"))
    assert third.record.started_s == second.record.started_s


async def test_a_conversation_that_goes_on_waits_for_nobody(make: Make) -> None:
    world = Routed(make.snapshot(make.provider("a"), hold_first_s=1.0))
    started_s = [(await world.route(make.body("x" * 10_000))).record.started_s for _ in range(2)]
    assert started_s[0] == started_s[1]
