"""What the demo makes of its turns: sums, who moved, and when it says that it did not work."""

from dataclasses import replace

import pytest

from limpet_lab.demo.result import Failover, Part, Result, Spent, failover, part, problems, saved
from limpet_lab.demo.script import conversations
from limpet_lab.demo.talk import Turn
from limpet_lab.sim.prompt import Ruler

SPENT = Spent(24, 0.001, 0.004, 0.002, 0.001)
GOOD = Result(Part(6, 6, 0.7, 0.001, 0, {}), Part(2, 6, 0.3, 0.002, 0, {}), Failover("a", 0, 6, 2, 2, 2, {}), SPENT)


def _turns(conversation: str, providers: str, cached: int = 0) -> list[Turn]:
    """One turn a letter; `.` is an error."""
    return [
        Turn(conversation, number, "", error="gone")
        if name == "."
        else Turn(conversation, number, name, "", 100, cached)
        for number, name in enumerate(providers, 1)
    ]


def test_a_part_counts_second_turns_and_all_tokens() -> None:
    turns = [*_turns("x", "aa"), *_turns("y", "bb", 50), *_turns("z", "a.")]
    result = part(turns, 0.5)
    assert (result.second_turn_hits, result.second_turns, result.client_errors) == (1, 3, 1)
    assert result.cached_share == pytest.approx(100 / 500)
    assert result.served == {"x": ["a", "a"], "y": ["b", "b"], "z": ["a", ""]}


@pytest.mark.parametrize(
    ("providers", "on_killed", "moved", "stayed"),
    [
        ("bbbbbb", 0, 0, 0),
        ("aacccc", 1, 1, 1),
        ("aaccaa", 1, 1, 0),
        ("aaacc", 1, 0, 0),
        ("aa.ccc", 1, 0, 0),
        ("aac.cc", 1, 1, 0),
    ],
)
def test_failover_follows_the_conversations_of_the_killed(
    providers: str, on_killed: int, moved: int, stayed: int
) -> None:
    result = failover(_turns("x", providers), "a", 2)
    assert (result.on_killed, result.moved_within_one_turn, result.stayed_moved) == (on_killed, moved, stayed)
    assert result.client_errors == providers.count(".")


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (GOOD, ""),
        (replace(GOOD, sticky=replace(GOOD.sticky, second_turn_hits=5)), "only 5 of 6 second turns"),
        (
            replace(GOOD, ledger=replace(SPENT, paid_usd=0.00102)),
            "the ledger has $0.00102, the sellers billed $0.00100",
        ),
        (replace(GOOD, off=replace(GOOD.off, client_errors=1)), "1 requests failed"),
        (replace(GOOD, failover=replace(GOOD.failover, on_killed=0)), "no conversation was at a"),
        (replace(GOOD, failover=replace(GOOD.failover, moved_within_one_turn=1)), "only 1 of 2 conversations"),
        (replace(GOOD, failover=replace(GOOD.failover, stayed_moved=1)), "only 1 of 2 moved conversations"),
    ],
)
def test_what_did_not_work_is_said(result: Result, said: str) -> None:
    assert said in "; ".join(problems(result))
    assert bool(problems(result)) is bool(said)


def test_the_sentence_at_the_end() -> None:
    assert saved(GOOD).endswith("$0.00100 instead of $0.00200: 50% less.")
    free = replace(GOOD, off=replace(GOOD.off, usd=0.0))
    assert "of nothing" in saved(free)


def test_the_script_is_long_enough_to_be_cached_and_shares_no_head() -> None:
    script = conversations(6)
    assert all(Ruler().tokens(each.system) > 1_024 for each in script)
    assert len({each.system[:20] for each in script}) == len({each.name for each in script}) == len(script) == 6
    assert all(len(set(each.questions)) == 6 for each in script)
    assert {each.streams for each in script} == {True, False}
