"""Places for probes under way, shared among namespaces."""

from hypothesis import given
from hypothesis import strategies as st

from limpet_operator.probe.fair_share import may_start
from limpet_operator.probe.schedule import Pair
from limpet_operator.resources.problem import ObjectKey


def pairs(namespace: str, count: int) -> list[Pair]:
    return [Pair(ObjectKey("HealthProbe", namespace, "all"), f"p{number}") for number in range(count)]


def test_one_namespace_leaves_half_of_the_places_and_they_are_there_for_the_next() -> None:
    first = may_start(pairs("first", 200), (), 64)
    assert first == tuple(pairs("first", 32))
    assert may_start(pairs("first", 200)[32:], first, 64) == ()
    assert may_start(pairs("second", 2), first, 64) == tuple(pairs("second", 2))


def test_the_longest_overdue_come_first() -> None:
    due = [*pairs("a", 2), *pairs("b", 2)]
    assert may_start(due, (), 4) == (due[0], due[1], due[2])


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 100)), max_size=20), st.integers(1, 64))
def test_there_are_never_more_than_places_and_one_that_has_none_gets_one_if_any_is_free(
    arrivals: list[tuple[str, int]], places: int
) -> None:
    under_way: tuple[Pair, ...] = ()
    for namespace, count in arrivals:
        before = under_way
        starting = may_start([pair for pair in pairs(namespace, count) if pair not in before], before, places)
        under_way = before + starting
        assert len(under_way) <= places
        new = namespace not in {pair.probe.namespace for pair in before}
        assert bool(starting) or not new or len(before) == places
