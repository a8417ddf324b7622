"""What caches did, put together from what workers saw of it: nothing counts twice, and the count is about right."""

from random import Random

import pytest

from limpet_extproc.contract.catalog import CacheUse
from limpet_extproc.providers.cache_use import CacheUses
from limpet_operator.fleet.cache_use import conversations, hit_percent, joined

NOW = 6_000.0


def seen(names: range) -> CacheUse:
    """A worker that saw these conversations; their names are as random as those of the memory."""
    uses = CacheUses(lambda: NOW)
    for name in names:
        uses.warm("a", Random(name).randbytes(32), NOW + 300)
    return uses.refresh().get("a", CacheUse())


@pytest.mark.parametrize(("how_many", "at_least", "at_most"), [
    (0, 0, 0), (1, 1, 1), (3, 3, 3), (10, 9, 11), (50, 45, 55), (412, 350, 480), (3_000, 2_500, 3_500),
    (50_000, 42_000, 58_000),
])  # fmt: skip
def test_the_count_is_about_right(how_many: int, at_least: int, at_most: int) -> None:
    assert at_least <= conversations(seen(range(how_many))) <= at_most


def test_from_a_hundred_on_it_has_two_digits_so_that_it_changes_only_when_something_did() -> None:
    assert all(conversations(seen(range(n))) % 10 == 0 for n in (200, 300, 400, 500))


def test_a_conversation_that_two_workers_saw_counts_once() -> None:
    one, other, all_of_it = seen(range(300)), seen(range(200, 500)), seen(range(500))
    assert joined(one, other) == all_of_it
    assert joined(one, CacheUse()) == joined(CacheUse(), one) == one


@pytest.mark.parametrize(
    ("use", "percent"), [(CacheUse(), None), (CacheUse(1000, 0), 0), (CacheUse(1000, 927), 93), (CacheUse(7, 7), 100)]
)
def test_the_share_of_the_prompt(use: CacheUse, percent: int | None) -> None:
    assert hit_percent(use) == percent
