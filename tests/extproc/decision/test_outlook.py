"""How a conversation is expected to go on."""

import pytest
from tests.extproc.conftest import Make

from limpet_extproc.decision.outlook import MOST_TURNS, UNKNOWN_PACE, USUAL_GAP_S, as_remembered, outlook_of
from limpet_extproc.decision.warmth import NO_WARMTH, Warmth
from limpet_extproc.memory import ConversationPace, Remembered

NOW = 10_000.0


@pytest.mark.parametrize(("served", "again"), [(0, 1 / 3), (1, 3 / 5), (9, 19 / 21), (99, 199 / 201), (500, 199 / 201)])
def test_it_goes_on_for_nearly_as_many_turns_as_it_has_had(make: Make, served: int, again: float) -> None:
    pace = ConversationPace(served, NOW - 60, 60.0, 4000, 300, 200)
    assert outlook_of(make.query(make.lane(make.provider("a"))), pace, NOW).again == pytest.approx(again)


def test_an_unknown_conversation_has_a_usual_pace(make: Make) -> None:
    query = make.query(make.lane(make.provider("a")))
    outlook = outlook_of(query, UNKNOWN_PACE, NOW)
    assert (outlook.gap_s, outlook.growth_tokens, outlook.output_tokens) == (USUAL_GAP_S, 400, 400)
    assert outlook.lasts(300) == pytest.approx(0.75)


def test_gaps_are_averaged_with_a_usual_one_and_with_the_one_that_has_just_ended(make: Make) -> None:
    query = make.query(make.lane(make.provider("a")))
    second = outlook_of(query, ConversationPace(1, NOW - 10, 0.0, 4000, 0, 200), NOW)
    assert second.gap_s == pytest.approx((USUAL_GAP_S + 10) / 2)
    fourth = outlook_of(query, ConversationPace(3, NOW - 10, 20.0, 4000, 0, 200), NOW)
    assert fourth.gap_s == pytest.approx((USUAL_GAP_S + 20 + 20 + 10) / 4)
    long = outlook_of(query, ConversationPace(5000, NOW - 10, 20.0, 4000, 0, 200), NOW)
    assert long.gap_s == pytest.approx((USUAL_GAP_S + MOST_TURNS * 20 + 10) / (MOST_TURNS + 2))


def test_a_clock_that_goes_back_makes_no_gap_shorter_than_nothing(make: Make) -> None:
    pace = ConversationPace(1, NOW + 500, 0.0, 4000, 0, 200)
    assert outlook_of(make.query(make.lane(make.provider("a"))), pace, NOW).gap_s == pytest.approx(USUAL_GAP_S / 2)


def test_prompts_grow_and_answers_are_long_as_they_were(make: Make) -> None:
    query = make.query(make.lane(make.provider("a")))
    outlook = outlook_of(query, ConversationPace(3, NOW, 20.0, 4000, 1500.0, 3000.0), NOW)
    assert (outlook.growth_tokens, outlook.output_tokens) == (1500, 3000)
    shrinking = outlook_of(query, ConversationPace(3, NOW, 20.0, 4000, -700.0, 3000.0), NOW)
    assert shrinking.growth_tokens == 0


def test_a_limit_that_the_client_sets_holds_whatever_its_answers_were(make: Make) -> None:
    query = make.query(make.lane(make.provider("a")), output_tokens=50)
    assert outlook_of(query, ConversationPace(3, NOW, 20.0, 4000, 0, 3000.0), NOW).output_tokens == 50


def test_what_turns_had_replaces_what_was_estimated(make: Make) -> None:
    query = make.query(make.lane(make.provider("a")), prompt_tokens=100)
    known = Remembered(pace=ConversationPace(3, NOW, 20.0, 4000, 0, 80.0))
    found = as_remembered(query, known, Warmth(prompt_tokens=4_100))
    assert (found.prompt_tokens, found.output_tokens) == (4_100, 80)
    assert as_remembered(found, known, Warmth(prompt_tokens=4_100)) is found
    assert as_remembered(query, None, NO_WARMTH) is query
