"""How the pace of a conversation is learned."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.memory import ConversationPace, ServedTurn
from limpet_extproc.memory.served import MOST_COUNTED, paced

_TURNS = st.lists(
    st.builds(ServedTurn, st.floats(0.0, 1e6), st.integers(0, 10**6), st.integers(0, 10**6)), min_size=1, max_size=40
)


def after(turns: list[ServedTurn]) -> ConversationPace:
    pace = ConversationPace()
    for turn in turns:
        pace = paced(pace, turn)
    return pace


def test_averages_are_those_of_all_turns_while_these_are_few() -> None:
    pace = after([ServedTurn(at * at, 100 * at, at) for at in range(10)])
    assert pace.turns == 10
    assert pace.gap_s == pytest.approx(81 / 9)
    assert pace.growth_tokens == pytest.approx(100)
    assert pace.output_tokens == pytest.approx(4.5)


def test_a_conversation_that_changes_its_pace_is_followed() -> None:
    slow = [ServedTurn(1000.0 * at, 100, 10) for at in range(100)]
    fast = [ServedTurn(slow[-1].started_s + at, 100, 10) for at in range(1, 3 * MOST_COUNTED)]
    assert after(slow).gap_s == pytest.approx(1000)
    assert after(slow + fast).gap_s < 100


def test_a_turn_beside_another_counts_and_tells_nothing_of_gaps() -> None:
    pace = after([ServedTurn(0.0, 100, 10), ServedTurn(10.0, 200, 10), ServedTurn(5.0, 9000, 40)])
    assert pace == ConversationPace(3, 10.0, 10.0, 200, 100.0, 20.0)


@given(_TURNS)
def test_averages_lie_between_the_least_and_the_most(turns: list[ServedTurn]) -> None:
    pace = after(turns)
    outputs = [turn.output_tokens for turn in turns]
    assert pace.turns == len(turns)
    assert min(outputs) - 1e-3 <= pace.output_tokens <= max(outputs) + 1e-3
    assert pace.last_s == max(turn.started_s for turn in turns)
    assert 0 <= pace.gap_s <= max(turn.started_s for turn in turns) + 1e-3


def test_what_the_first_turn_read_stays_known() -> None:
    pace = after([ServedTurn(10.0 * at, 100, 10, "", cached) for at, cached in enumerate((64, 96, 0))])
    assert pace.head_tokens == 64
