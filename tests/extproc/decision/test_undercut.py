"""Which of many candidates can be among the cheapest, whatever is asked."""

from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.conftest import Make

from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.undercut import MOST_UNDERCUT, undercut

_USD = st.integers(1, 40).map(lambda cents: cents / 10)
_PRICES = st.lists(
    st.builds(lambda usd, output: Price(usd, output, usd / 10, usd), _USD, _USD), min_size=17, max_size=90
)
_TOKENS = st.sampled_from((1, 30, 4_000))


@given(_PRICES)
def test_as_many_undercut_each_as_cost_no_more_in_both_and_less_in_one(make: Make, prices: list[Price]) -> None:
    lane = make.lane(*(make.provider(f"p{at}", price=price) for at, price in enumerate(prices)))

    def undercuts(one: Price, other: Price) -> bool:
        mine, theirs = (one.input, one.output), (other.input, other.output)
        return mine != theirs and mine[0] <= theirs[0] and mine[1] <= theirs[1]

    counted = {f"p{at}": sum(undercuts(one, each) for one in prices) for at, each in enumerate(prices)}
    found = undercut(lane.candidates)
    assert {each.provider: by for by, each in found} == {name: by for name, by in counted.items() if by < MOST_UNDERCUT}
    assert [by for by, _ in found] == sorted(by for by, _ in found)


@given(_PRICES, st.integers(1, 6), st.sets(st.integers(0, 16), max_size=12), _TOKENS, _TOKENS)
def test_the_cheapest_of_those_that_are_left_are_among_them(
    make: Make, prices: list[Price], most: int, left_out: set[int], prompt: int, output: int
) -> None:
    pool = make.lane(*(make.provider(f"p{at}", price=price) for at, price in enumerate(prices))).pools.whole
    apart = {f"p{at}" for at in left_out}
    found = pool.cheapest(most, apart)
    if found is None:
        assert most + len(apart) > MOST_UNDERCUT
        return
    usd = {f"p{at}": prompt * price.input + output * price.output for at, price in enumerate(prices)}
    ranked = sorted((cost, name) for name, cost in usd.items() if name not in apart)
    names = {each.provider for each in found}
    assert not names & apart
    assert {name for _, name in ranked[:most]} <= names
