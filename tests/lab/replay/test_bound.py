"""The bound: below every routing there is, and near the cheapest one where a conversation goes on from turn to turn."""

import asyncio
from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given
from tests.lab.replay.small_world import BEGIN_S, SELLERS, row, seller, traces

from limpet_lab.replay.bound import HindsightRules, lower_bound
from limpet_lab.replay.failures import RecordedTrouble
from limpet_lab.replay.play import play
from limpet_lab.replay.requests import ReplayedRequest, requests_of
from limpet_lab.replay.sellers import SellerSpec
from limpet_lab.replay.trace import TraceRow


def _usd(requests: Sequence[ReplayedRequest], sellers: Sequence[SellerSpec], choices: Sequence[str]) -> float:
    rules = HindsightRules(dict(enumerate(choices)), [each.name for each in sellers])
    return asyncio.run(play(rules, requests, sellers)).usd


def _cheapest(requests: Sequence[ReplayedRequest], sellers: Sequence[SellerSpec]) -> float:
    names = [each.name for each in sellers]
    return min(_usd(requests, sellers, choices) for choices in product(names, repeat=len(requests)))


@given(traces(), SELLERS)
def test_no_routing_is_cheaper(rows: Sequence[TraceRow], sellers: Sequence[SellerSpec]) -> None:
    requests = requests_of(rows, BEGIN_S).all
    assert lower_bound(requests, sellers).usd <= _cheapest(requests, sellers) * (1 + 1e-9)


LINE = [row(0, 1, 2, 90), row(30, 1, 2, 3, 4, 91), row(400, 1, 2, 3, 4, 5, 92), row(430, 1, 2, 3, 4, 5, 6, 93)]
CHEAP = seller("cheap", (1.0, 1.0, 1.0))
KEEPS = seller("keeps", (1.2, 0.02, 1.0), ttl_s=7200)
BRIEF = seller("brief", (1.1, 0.02, 1.0), ttl_s=60)


@pytest.mark.parametrize(
    "sellers",
    [
        (CHEAP, KEEPS),
        (CHEAP, BRIEF),
        (CHEAP, KEEPS, BRIEF),
        (seller("keeps", (1.2, 0.02, 1.0), ttl_s=7200, troubles=(RecordedTrouble("keeps", 0, 1, 503),)), BRIEF),
        (seller("writes", (1.0, 0.1, 1.0), write=1.25), CHEAP),
        (seller("long", (0.9, 0.02, 1.0), min_tokens=2048), CHEAP, BRIEF),
    ],
)
def test_one_conversation_is_solved_exactly(sellers: Sequence[SellerSpec]) -> None:
    requests = requests_of(LINE, BEGIN_S).all
    bound = lower_bound(requests, sellers)
    assert bound.usd == pytest.approx(_cheapest(requests, sellers))
    assert _usd(requests, sellers, [bound.choices[number] for number in range(len(requests))]) == pytest.approx(
        bound.usd
    )


def test_a_request_that_nobody_answers_costs_nothing() -> None:
    down = seller("down", (1.0, 0.1, 1.0), troubles=(RecordedTrouble("down", 0, 1, 503),))
    assert lower_bound(requests_of([row(0, 1, 2)], BEGIN_S).all, (down,)).usd == 0


def test_a_trace_of_nothing_costs_nothing() -> None:
    assert lower_bound((), (CHEAP,)).usd == 0
