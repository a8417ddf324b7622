"""A price window that opens in mid-conversation moves it only where that pays, the new cache write included."""

from datetime import UTC, datetime

import pytest
from tests.extproc.conftest import Make

from limpet_extproc.contract.catalog import Catalog, Policy
from limpet_extproc.contract.prices import Price, PriceRules, PriceWindow
from limpet_extproc.decision.choose import Decision, choose
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.snapshot import Snapshot, repriced, snapshot
from limpet_extproc.memory import ConversationPace, Remembered, Warm

MONDAY_S = datetime(2026, 11, 2, tzinfo=UTC).timestamp()
HOUR_S = 3600.0
PROMPT = 20_000


def price(factor: float, write: float = 1.0) -> Price:
    """DeepSeek's off-peak price of November 2026, so many times; `write` is what a write costs of the input."""
    return Price(0.15 * factor, 0.6 * factor, 0.003 * factor, 0.15 * factor * write)


def tables(make: Make, peak: float, other: float, write: float) -> Snapshot:
    window = PriceWindow("peak", "UTC", (0,), 60, 240, price(peak))
    here = make.provider("here", price=price(1.0), rules=PriceRules(windows=(window,)))
    there = make.provider("there", price=price(other, write))
    return snapshot(Catalog("r", (here, there), (Policy(),)), now_s=MONDAY_S)


def turn(make: Make, priced: Snapshot, now_s: float, *warm: str) -> Decision:
    pace = ConversationPace(4, now_s - 30.0, 30.0, PROMPT, 500.0, 400.0)
    remembered = Remembered(tuple(Warm(name, now_s + 270.0, PROMPT) for name in warm), pace=pace)
    query = make.query(priced.lanes["OpenAIChat", make.model], prompt_tokens=PROMPT)
    return choose(query, remembered, ProviderStates(), now_s, b"")


@pytest.mark.parametrize(
    ("peak", "other", "write", "moves"),
    [
        (2.0, 1.1, 1.0, False),  # DeepSeek's own peak: what is warm stays cheaper than another's full price
        (5.0, 1.1, 1.0, True),
        (5.0, 1.1, 3.0, False),  # the write eats what the move would save
        (60.0, 1.1, 3.0, True),
        (60.0, 61.0, 1.0, False),
    ],
)
def test_it_moves_where_that_pays(make: Make, peak: float, other: float, write: float, moves: bool) -> None:
    before = tables(make, peak, other, write)
    now_s = MONDAY_S + HOUR_S
    assert turn(make, before, now_s - 1.0, "here").reason == "sticky.hit"
    decision = turn(make, repriced(before, now_s), now_s, "here")
    expected = ("there", "sticky.moved.cheaper") if moves else ("here", "sticky.hit")
    assert (decision.order[0], decision.reason) == expected


def test_when_it_closes_the_conversation_stays_where_it_is_warm_by_then(make: Make) -> None:
    priced = repriced(tables(make, 60.0, 1.1, 1.0), MONDAY_S + 4 * HOUR_S)
    decision = turn(make, priced, MONDAY_S + 4 * HOUR_S, "there")
    assert (decision.order[0], decision.reason) == ("there", "sticky.hit")


def test_a_new_conversation_begins_where_the_hour_is_cheap(make: Make) -> None:
    priced, seen = tables(make, 60.0, 3.0, 1.0), []
    for hour in (0.0, 1.0, 4.0):
        now_s = MONDAY_S + hour * HOUR_S
        priced = repriced(priced, now_s)
        query = make.query(priced.lanes["OpenAIChat", make.model])
        seen.append(choose(query, None, ProviderStates(), now_s, b"").order[0])
    assert seen == ["here", "there", "here"]
