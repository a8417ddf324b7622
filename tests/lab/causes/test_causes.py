"""Conversations with vendors' caches whose causes are known, because the test has made them."""

from collections import Counter

import pytest
from tests.lab.causes.stories import STORIES, Story, told

from limpet_extproc.contract.reasons import CacheCause, words

SEEDS = 12


@pytest.mark.slow
async def test_nearly_all_causes_are_right_and_none_is_named_where_nobody_can_know() -> None:
    wrong: Counter[tuple[str, str, str]] = Counter()
    seen: Counter[str] = Counter()
    for story in STORIES:
        for seed in range(SEEDS):
            for truth, named in await told(story, seed):
                seen[_word(truth)] += 1
                # Of a detail, only where a prompt has changed is known before.
                if named != truth and (_word(named) != truth or "(" in truth):
                    wrong[story.__name__, truth, named] += 1
    assert sum(wrong.values()) < 0.01 * sum(seen.values()), wrong
    assert not [each for each in wrong if each[1] == "unknown"]
    assert set(seen) == set(words(CacheCause))


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_each_story_is_told_right(story: Story) -> None:
    assert [named for truth, named in await told(story, 1) if _word(named) != _word(truth)] == []


def _word(cause: str) -> str:
    return cause.partition("(")[0]
