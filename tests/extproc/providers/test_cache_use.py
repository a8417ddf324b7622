"""A worker's reports on caches: a new provider at once, changes once a minute, and nothing for too long."""

from limpet_extproc.contract.catalog import CacheUse
from limpet_extproc.providers.cache_use import MINUTES, CacheUses

KEY = bytes(range(32))


class Clock:
    """The wall clock, at the beginning of a minute."""

    def __init__(self) -> None:
        self.now_s = 6_000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_new_provider_is_reported_at_once_and_changes_when_the_minute_turns() -> None:
    clock = Clock()
    uses = CacheUses(clock)
    assert uses.refresh() == {}
    uses.read("a", 1000, 0)
    assert uses.refresh() == {"a": CacheUse(1000, 0)}
    uses.read("a", 1000, 900)
    uses.read("b", 10, 0)
    clock.now_s += 59
    assert uses.refresh() == {"a": CacheUse(1000, 0), "b": CacheUse(10, 0)}
    clock.now_s += 1
    assert uses.refresh() == {"a": CacheUse(2000, 900), "b": CacheUse(10, 0)}


def test_tokens_count_for_ten_minutes() -> None:
    clock = Clock()
    uses = CacheUses(clock)
    uses.read("a", 1000, 500)
    told = []
    for _ in range(MINUTES + 1):
        clock.now_s += 60
        uses.read("a", 1, 1)
        told.append(uses.refresh()["a"].prompt_tokens)
    assert told == [1001, *range(1002, 1010), 1010, 10]


def test_a_conversation_counts_while_it_is_warm_and_its_next_turn_keeps_it_so() -> None:
    clock = Clock()
    uses = CacheUses(clock)
    uses.warm("a", KEY, clock.now_s + 90)
    once = uses.refresh()["a"].warm
    assert sum(rank > 0 for rank in once) == 1
    clock.now_s += 60
    uses.warm("a", KEY, clock.now_s + 90)
    clock.now_s += 60
    assert uses.refresh()["a"].warm == once
    clock.now_s += 60
    assert uses.refresh()["a"] == CacheUse()
