"""Anthropic's cache: what a request marks is kept, and found again within twenty blocks."""

import pytest

from limpet_lab.sim.breakpoints import BreakpointCache
from limpet_lab.sim.cache import Reading
from limpet_lab.sim.prompt import Prompt, Ruler
from limpet_lab.sim.rules import LONG_S, CacheRules
from limpet_lab.sim.turn import Mark

_RULER = Ruler(chars_per_token=1)
_SHORT_S = 300.0


def _cache(least: int = 10) -> BreakpointCache:
    return BreakpointCache(CacheRules(only_marked=True, min_tokens=least))


def _prompt(blocks: int, length: int = 10) -> Prompt:
    return Prompt(tuple(f"{number:0{length}}" for number in range(blocks)), _RULER)


def _ask(cache: BreakpointCache, blocks: int, *marks: tuple[int, float], at: float = 0.0) -> tuple[int, int, int]:
    reading = cache.read(_prompt(blocks), 1, at, [Mark(*mark) for mark in marks])
    cache.write(reading, at, at)
    return reading.cached, reading.written, reading.written_long


def test_nothing_is_kept_without_a_mark() -> None:
    cache = _cache()
    assert [_ask(cache, 3), _ask(cache, 3), _ask(cache, 3, (2, _SHORT_S))] == [(0, 0, 0), (0, 0, 0), (0, 30, 0)]


def test_the_longest_marked_prefix_is_read_and_the_rest_written() -> None:
    cache = _cache()
    assert _ask(cache, 2, (0, _SHORT_S), (1, _SHORT_S)) == (0, 20, 0)
    assert _ask(cache, 4, (3, _SHORT_S)) == (20, 20, 0)
    assert _ask(cache, 4, (0, _SHORT_S)) == (10, 0, 0)


@pytest.mark.parametrize(("later", "cached"), [(19, 10), (20, 0)])
def test_a_breakpoint_looks_back_at_twenty_blocks_itself_included(later: int, cached: int) -> None:
    cache = _cache()
    _ask(cache, 1, (0, _SHORT_S))
    assert _ask(cache, later + 1, (later, _SHORT_S))[0] == cached


def test_less_than_the_minimum_is_silently_not_kept() -> None:
    cache = _cache(least=25)
    assert _ask(cache, 3, (1, _SHORT_S)) == (0, 0, 0)
    assert _ask(cache, 3, (1, _SHORT_S), (2, _SHORT_S)) == (0, 30, 0)


def test_what_stays_for_an_hour_is_told_apart() -> None:
    cache = _cache()
    assert _ask(cache, 3, (1, LONG_S), (2, _SHORT_S)) == (0, 30, 20)
    assert _ask(cache, 3, (1, LONG_S), (2, _SHORT_S), at=400.0) == (20, 10, 0)


def test_a_read_starts_the_lifetime_again() -> None:
    cache = _cache()
    for at, found in ((0.0, 0), (299.0, 30), (598.0, 30), (898.0, 0)):
        assert _ask(cache, 3, (2, _SHORT_S), at=at)[0] == found


def test_an_entry_cannot_be_read_before_its_first_byte() -> None:
    cache = _cache()
    marks = [Mark(2, _SHORT_S)]
    cache.write(cache.read(_prompt(3), 1, 0.0, marks), started=0.0, now=2.0)
    assert [cache.read(_prompt(3), 1, at, marks).cached for at in (1.0, 2.0)] == [0, 30]


def test_another_head_or_another_scope_shares_nothing() -> None:
    cache = _cache()
    _ask(cache, 3, (2, _SHORT_S))
    other = Prompt(("x" * 10, *_prompt(3).segments[1:]), _RULER)
    assert cache.read(other, 1, 1.0, [Mark(2, _SHORT_S)]).cached == 0
    assert cache.read(_prompt(3), 2, 1.0, [Mark(2, _SHORT_S)]).cached == 0


def test_the_least_recently_used_leaves_first() -> None:
    cache = BreakpointCache(CacheRules(only_marked=True, min_tokens=1, max_blocks=2))
    for blocks in (1, 2, 3):
        _ask(cache, blocks, (blocks - 1, _SHORT_S))
    assert len(cache) == 2
    assert cache.read(_prompt(1), 1, 0.0, [Mark(0, _SHORT_S)]).cached == 0
    cache.clear()
    assert cache.read(_prompt(3), 1, 0.0, [Mark(2, _SHORT_S)]) == Reading(
        0, 30, cache.read(_prompt(3), 1, 0.0, [Mark(2, _SHORT_S)]).hashes, 0, (_SHORT_S,)
    )
