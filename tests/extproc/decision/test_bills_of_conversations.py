"""The ledger's counterfactuals against worlds in which they happen: the same conversations, really spread."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from random import Random

import msgspec
import pytest
from tests.extproc.conftest import Make
from tests.extproc.decision.test_bills import record

from limpet_extproc.contract.prices import Price
from limpet_extproc.contract.record import CacheEvidence
from limpet_extproc.decision.bills import bill, paid_usd
from limpet_extproc.decision.price import turn_usd
from limpet_extproc.decision.snapshot import Lane
from limpet_extproc.decision.spread_shares import spread_shares
from limpet_extproc.envoy.usage import TokenUsage
from limpet_extproc.memory import ConversationPace, ServedTurn
from limpet_extproc.memory.served import paced
from limpet_extproc.request.routing import turns_before

TTL_S = 300.0
PRICES = (Price(1.0, 4.0, 0.1, 1.0), Price(1.1, 4.0, 0.1, 1.1), Price(1.15, 4.5, 0.12, 1.15))
OUTPUT = 200


class AskedTurn(msgspec.Struct, frozen=True):
    """A turn of a conversation, wherever it goes."""

    at_s: float
    prompt_tokens: int


def conversations(random: Random, count: int, mean_gap_s: float) -> Iterator[list[AskedTurn]]:
    """Conversations that grow with each turn, at the pace of people."""
    for _ in range(count):
        turns = random.randint(1, 14)
        times = accumulate(random.expovariate(1 / mean_gap_s) for _ in range(turns))
        sizes = accumulate(random.randint(200, 2_000) for _ in range(turns))
        first = random.randint(1_000, 12_000)
        yield [AskedTurn(at_s, first + size) for at_s, size in zip(times, sizes, strict=True)]


def used(asked: AskedTurn, there: AskedTurn | None) -> TokenUsage:
    """What a provider reports that was last asked so."""
    warm = there is not None and asked.at_s - there.at_s <= TTL_S
    return TokenUsage(asked.prompt_tokens, there.prompt_tokens if warm and there is not None else 0, OUTPUT)


def spread_usd(random: Random, lane: Lane, talk: Sequence[AskedTurn]) -> float:
    """The bill of a conversation whose turns are spread anew, each time by the shares of its near-equals."""
    last: dict[str, AskedTurn] = {}
    total = 0.0
    for asked in talk:
        prices = [each.price for each in lane.candidates if each.price is not None]
        usd = [turn_usd(price, asked.prompt_tokens, 0, OUTPUT) for price in prices]
        shares = spread_shares(lane.candidates, usd, 25.0)
        ((chosen, price),) = random.choices(list(zip(lane.candidates, prices, strict=True)), shares)
        name = chosen.provider
        total += paid_usd(price, used(asked, last.get(name)))
        last[name] = asked
    return total


@pytest.mark.parametrize("mean_gap_s", [20.0, 120.0, 400.0])
def test_what_spreading_would_have_cost_is_what_it_costs(make: Make, mean_gap_s: float) -> None:
    random = Random(7)
    names = "abc"
    lane = make.lane(*(make.provider(name, price=price) for name, price in zip(names, PRICES, strict=True)))
    expected = happened = paid = 0.0
    for talk in conversations(random, 1_500, mean_gap_s):
        pace, before, place = ConversationPace(), None, random.choice(names)
        for asked in talk:
            tokens = used(asked, before)
            evidence = CacheEvidence(
                before=place if before else "", before_tokens=before.prompt_tokens if before else 0
            )
            made = record(
                order=(place, *(name for name in names if name != place)),
                ttls_s=(TTL_S,) * 3,
                before=turns_before(pace, asked.at_s),
                cache=evidence,
            )
            found = bill(lane, place, made, tokens)
            assert found is not None
            expected += found.spread_usd
            paid += found.paid_usd
            pace = paced(pace, ServedTurn(asked.at_s, asked.prompt_tokens, OUTPUT, "", tokens.cached or 0))
            before = asked
        happened += spread_usd(random, lane, talk)
    assert paid < happened
    assert expected == pytest.approx(happened, rel=0.02)
