"""One trace by one rule set: what a request finds, what it costs, and who is asked when somebody fails."""

from collections.abc import Sequence

import pytest
from tests.lab.replay.small_world import BEGIN_S, row, seller

from limpet_lab.replay.failures import RecordedTrouble
from limpet_lab.replay.others import OTHERS
from limpet_lab.replay.play import ReplayedBill, Tried, play
from limpet_lab.replay.requests import ReplayedRequest, requests_of
from limpet_lab.replay.sellers import SellerSpec
from limpet_lab.replay.trace import TraceRow

A, B = seller("a", (1.0, 0.1, 2.0)), seller("b", (2.0, 0.2, 4.0), ttl_s=60)


class _Fixed:
    """Always the same order; notes what it is told."""

    def __init__(self, *order: str) -> None:
        self.fixed = order
        self.told: list[tuple[int, Tried, float]] = []

    async def order(self, request: ReplayedRequest, now_s: float) -> Sequence[str]:
        return self.fixed

    async def ended(self, request: ReplayedRequest, tried: Tried, now_s: float) -> None:
        self.told.append((request.number, tried, now_s))


async def _played(rules: _Fixed, rows: Sequence[TraceRow], *sellers: SellerSpec) -> ReplayedBill:
    return await play(rules, requests_of(rows, BEGIN_S).all, sellers)


async def test_the_second_turn_reads_what_the_first_has_written() -> None:
    bill = await _played(_Fixed("a"), [row(0, 1, 2, 9), row(30, 1, 2, 3)], A)
    assert (bill.cached_tokens, bill.prompt_tokens, bill.switches) == (1024, 3072, 0)
    assert bill.usd == pytest.approx((2048 * 1.0 + 1024 * 0.1 + 200 * 2.0) * 1e-6)


@pytest.mark.parametrize(
    ("second_s", "cached"), [(0.2, 0), (1.0, 1024), (59.0, 1024), (60.0, 0)], ids=["parallel", "soon", "late", "over"]
)
async def test_an_entry_lives_from_the_first_byte_to_its_lifetime(second_s: float, cached: int) -> None:
    bill = await _played(_Fixed("b"), [row(0, 1, 2, 9), row(second_s, 1, 2, 3)], B)
    assert bill.cached_tokens == cached


async def test_whoever_fails_is_followed_by_the_next_and_not_paid() -> None:
    failing = seller("a", (1.0, 0.1, 2.0), troubles=(RecordedTrouble("a", 0, 1, 503),))
    rules = _Fixed("a", "b")
    bill = await _played(rules, [row(0, 1), row(61, 1)], failing, B)
    assert (bill.failed_attempts, dict(bill.requests), bill.switches) == (1, {"b": 1, "a": 1}, 1)
    _, tried, now_s = rules.told[0]
    assert tried.failures == (("a", 503),)
    assert tried.served is not None
    assert now_s == pytest.approx(BEGIN_S + tried.served.seconds)


async def test_a_request_that_nobody_answers_is_counted() -> None:
    failing = seller("a", (1.0, 0.1, 2.0), troubles=(RecordedTrouble("a", 0, 1, 429),))
    rules = _Fixed("a")
    bill = await _played(rules, [row(0, 1)], failing)
    assert (bill.unserved, bill.usd, bill.failed_attempts, len(rules.told)) == (1, 0.0, 3, 3)


async def test_a_share_of_failures_is_the_same_for_all() -> None:
    trouble = RecordedTrouble("a", 0, 60, 500, share=0.5)
    met = [number for number in range(200) if trouble.meets(number, 3)]
    assert 70 < len(met) < 130
    assert met == [number for number in range(200) if trouble.meets(number, 59)]
    assert not trouble.meets(met[0], 60)


@pytest.mark.parametrize("name", OTHERS)
async def test_other_rules_serve_every_request(name: str) -> None:
    failing = seller("a", (1.0, 0.1, 2.0), troubles=(RecordedTrouble("a", 0, 2, 503),))
    rows = [row(20.0 * number, 1, *range(2, 3 + number % 4), 100 + number) for number in range(30)]
    bill = await play(OTHERS[name]((failing, B)), requests_of(rows, BEGIN_S).all, (failing, B))
    assert (bill.unserved, sum(bill.requests.values())) == (0, 30)


async def test_a_pin_holds_for_ten_minutes() -> None:
    rows = [row(0, 1, 2, 90), *(row(400.0 * turn, 1, 2, 3, 90 + turn) for turn in range(1, 9))]
    bill = await play(OTHERS["fingerprint_pin"]((A, B)), requests_of(rows, BEGIN_S).all, (A, B))
    assert bill.switches == 0
