"""New conversations that begin as others do: they come together, and go where that beginning is warm."""

from random import Random

import pytest
from msgspec import structs
from tests.extproc.conftest import Make
from tests.extproc.decision.test_warmth import HEADS, chain

from limpet_extproc.contract.catalog import CatalogProvider, Limits
from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.choose import Decision, choose
from limpet_extproc.decision.health import HealthState
from limpet_extproc.decision.limits import Used
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.totals import totals_usd
from limpet_extproc.decision.warmth import Warmth
from limpet_extproc.decision.worth import Outlook
from limpet_extproc.memory import ConversationPace, Remembered, Warm
from limpet_extproc.memory.heads import NO_HEADS, Heads, WarmHead

NOW = 1000.0
PRICE = Price(input=1.0, output=4.0, cache_read=0.1, cache_write=1.0)
EACH = range(60)


def decide(
    make: Make,
    number: int,
    heads: Heads = NO_HEADS,
    *,
    head: int = 5000,
    own: int = 300,
    prices: tuple[Price | None, ...] = (PRICE, PRICE, PRICE),
    states: ProviderStates | None = None,
    providers: tuple[CatalogProvider, ...] | None = None,
) -> Decision:
    """A conversation of its own with tools and a system prompt of `head` tokens each, which all of them have."""
    shared = chain("tsabc", per_part=head)
    tokens = (head, 2 * head, 2 * head + own)
    hashes = b"".join((*HEADS[:2], Random(number).randbytes(8)))
    own_chain = type(shared)(hashes, tokens, shared.heads[:2])
    lane = make.lane(*(providers or (make.provider(name, price=usd) for name, usd in zip("abc", prices, strict=True))))
    query = Query(lane, Random(number).randbytes(16), tokens[-1], 400, chain=own_chain)
    return choose(query, None, states or ProviderStates(), NOW, b"", heads)


def firsts(decisions: list[Decision]) -> set[str]:
    return {decision.order[0] for decision in decisions}


def test_parallel_first_requests_with_one_head_agree_before_anything_is_warm(make: Make) -> None:
    decisions = [decide(make, number) for number in EACH]
    assert len({decision.order for decision in decisions}) == 1
    assert {decision.reason for decision in decisions} == {"first.scored"}


def test_a_head_that_saves_less_than_near_equals_differ_by_keeps_nobody_together(make: Make) -> None:
    assert firsts([decide(make, number, head=500, own=20_000) for number in EACH]) == {"a", "b", "c"}


def test_without_a_price_a_head_draws_nobody_to_one_place(make: Make) -> None:
    unknown = (None, None, None)
    warm = {HEADS[1]: (WarmHead("b", NOW + 60),)}
    assert firsts([decide(make, number, prices=unknown) for number in EACH]) == {"a", "b", "c"}
    assert firsts([decide(make, number, warm, prices=unknown) for number in EACH]) == {"a", "b", "c"}


@pytest.mark.parametrize("pending_s", [0.0, NOW - 1])
def test_a_new_conversation_goes_where_its_head_is_warm_or_will_be(make: Make, pending_s: float) -> None:
    usual = decide(make, 0).order[0]
    for other in {"a", "b", "c"} - {usual}:
        decision = decide(make, 0, {HEADS[1]: (WarmHead(other, NOW + 60, pending_s),)})
        assert (decision.reason, decision.order[0]) == ("first.warm_head", other)
        assert decision.warmth.tokens == {other: 10_000}


def test_a_warm_head_at_a_dear_provider_is_left_there(make: Make) -> None:
    dear = Price(*(20 * usd for usd in (PRICE.input, PRICE.output, PRICE.cache_read, PRICE.cache_write)))
    decision = decide(make, 0, {HEADS[1]: (WarmHead("c", NOW + 60),)}, prices=(PRICE, PRICE, dear))
    assert (decision.reason, decision.order[0] != "c") == ("first.scored", True)


def test_a_hot_head_is_warmed_at_a_second_provider_when_the_first_is_at_its_limits(make: Make) -> None:
    limited = make.provider("a", price=PRICE, limits=Limits(requests_per_minute=10))
    providers = (limited, make.provider("b", price=PRICE), make.provider("c", price=PRICE))
    warm = {HEADS[1]: (WarmHead("a", NOW + 60),)}
    states = ProviderStates(used=lambda _provider, _now_s: Used(requests=10))
    full = [decide(make, number, warm, providers=providers, states=states) for number in EACH]
    assert {decision.reason for decision in full} == {"first.scored"}
    (second,) = firsts(full)
    assert second != "a"
    both = {HEADS[1]: (WarmHead("a", NOW + 60), WarmHead(second, NOW + 60))}
    after = [decide(make, number, both, providers=providers, states=states) for number in EACH]
    assert (firsts(after), {decision.reason for decision in after}) == ({second}, {"first.warm_head"})


def test_health_comes_before_a_warm_head(make: Make) -> None:
    down = ProviderStates(health={"a": HealthState(trouble="down", until_s=NOW + 10)})
    decision = decide(make, 0, {HEADS[1]: (WarmHead("a", NOW + 60),)}, states=down)
    assert (decision.reason, decision.order[-1]) == ("first.scored", "a")


def test_a_later_turn_whose_memory_is_lost_goes_where_the_first_one_went(make: Make) -> None:
    lane = make.lane(*(make.provider(name, price=PRICE) for name in "abc"))
    for number in EACH:
        first, later = chain("ts" + chr(200 + number)), chain("ts" + chr(200 + number) + "klmnop")
        orders = {
            choose(
                Query(lane, b"k%d" % number, each.tokens[-1], 400, chain=each), None, ProviderStates(), NOW, b""
            ).order
            for each in (first, later)
        }
        assert len(orders) == 1


def test_a_head_is_brought_to_a_cheaper_provider_by_about_as_many_conversations_as_that_pays_for(make: Make) -> None:
    """Each alone would read it where it is; all together they would pay more there than it costs to write it once."""
    dearer = Price(input=2.0, output=8.0, cache_read=0.2, cache_write=2.0)
    prices = (dearer, PRICE, dearer)
    warm = {HEADS[1]: (WarmHead("a", NOW + 60),)}
    decisions = [decide(make, number, warm, head=20_000, prices=prices) for number in range(400)]
    moved = [decision for decision in decisions if decision.order[0] == "b"]
    assert {decision.order[0] for decision in decisions} == {"a", "b"}
    move_usd, lost_usd = 40_000 * 0.9, 40_000 * 0.1 + 300 + 400 * 4
    """Of a first turn; the further ones would leave the dearer provider."""
    assert len(moved) / len(decisions) == pytest.approx(lost_usd / move_usd, rel=0.3)
    both = {HEADS[1]: (WarmHead("a", NOW + 60), WarmHead("b", NOW + 60))}
    assert firsts([decide(make, number, both, head=20_000, prices=prices) for number in EACH]) == {"b"}


def test_nobody_moves_a_head_where_it_is_cheapest(make: Make) -> None:
    dearer = Price(input=1.5, output=6.0, cache_read=0.15, cache_write=1.5)
    warm = {HEADS[1]: (WarmHead("b", NOW + 60),)}
    decisions = [decide(make, number, warm, prices=(dearer, PRICE, dearer)) for number in EACH]
    assert firsts(decisions) == {"b"}


def test_what_others_keep_warm_counts_for_all_turns_also_where_the_own_cache_runs_out(make: Make) -> None:
    short = make.provider("a", price=PRICE, cache_ttl_s=10.0)
    longer = make.provider("b", price=PRICE, cache_ttl_s=3600.0)
    for number in EACH:
        decision = decide(make, number, {HEADS[1]: (WarmHead("a", NOW + 5),)}, providers=(short, longer))
        assert decision.order[0] == "a"


def going_on(make: Make, here: Price, elsewhere: Price, heads: Heads) -> Decision:
    """The fourth turn of a conversation at `a`, of which 40,000 of 44,000 tokens are what others begin with, too."""
    now, then = chain("tsabc", per_part=20_000), chain("tsab", per_part=20_000)
    tokens = (20_000, 40_000, 41_000, 42_000, 44_000)
    shared = tuple(structs.replace(head, tokens=each) for head, each in zip(now.heads[:2], tokens, strict=False))
    own_chain = structs.replace(now, tokens=tokens, heads=shared)
    lane = make.lane(make.provider("a", price=here), *(make.provider(name, price=elsewhere) for name in "bcd"))
    pace = ConversationPace(3, NOW - 10, 10.0, 42_000, 1000.0, 300.0, 40_000)
    remembered = Remembered((Warm("a", NOW + 290, 42_000, 0, then.hashes),), pace=pace)
    query = Query(lane, b"key", tokens[-1], 400, chain=own_chain, has_history=True)
    return choose(query, remembered, ProviderStates(), NOW, b"", heads)


def test_after_a_failure_the_next_that_is_tried_has_what_others_brought_there(make: Make) -> None:
    for other in "bcd":
        decision = going_on(make, PRICE, PRICE, {HEADS[1]: (WarmHead(other, NOW + 60),)})
        assert (decision.reason, decision.order[:2]) == ("sticky.hit", ("a", other))


def test_a_move_costs_no_more_than_what_nobody_has_brought_there(make: Make) -> None:
    dear = Price(*(1.6 * usd for usd in (PRICE.input, PRICE.output, PRICE.cache_read, PRICE.cache_write)))
    assert going_on(make, dear, PRICE, NO_HEADS).reason == "sticky.hit"
    decision = going_on(make, dear, PRICE, {HEADS[1]: (WarmHead("c", NOW + 60),)})
    assert (decision.reason, decision.order[0]) == ("sticky.moved.cheaper", "c")


@pytest.mark.parametrize(("again", "saves"), [(0.9, True), (0.0, False)])
def test_what_others_keep_warm_is_not_lost_with_the_conversations_own_cache(
    make: Make, again: float, saves: bool
) -> None:
    lane = make.lane(*(make.provider(name, price=PRICE) for name in "ab"))
    query = make.query(lane, prompt_tokens=44_000)
    outlook = Outlook(44_000, 400, again, 300.0, 1000)
    shares, alone = (
        totals_usd(
            lane.candidates, query, Warmth(44_000, {"a": 40_000, "b": head}, own=True, head_tokens=head), outlook
        )
        for head in (30_000, 0)
    )
    assert (shares[0] < 0.9 * alone[0]) == saves
    assert saves or shares[0] == pytest.approx(alone[0])
    assert shares[1] < 0.7 * alone[1], "it has only the rest to write there"
