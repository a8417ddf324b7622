"""What the requests of a trace have in common, and the bodies that stand for them."""

import json

from tests.lab.replay.small_world import BEGIN_S, row

from limpet_lab.replay.bodies import body_of
from limpet_lab.replay.requests import requests_of

TURNS = [
    row(0, 0, 1, 2, 80, tokens=1_600),
    row(5, 0, 9, 81, tokens=1_100),
    row(60, 0, 1, 2, 3, 4, 82, tokens=2_700),
    row(90, 0, 1, 2, 3, 4, 5, 6),
]
"""A conversation of three turns and one of a single turn, below the same first block."""


ASKS = requests_of(TURNS, BEGIN_S)


def _messages(place: int) -> list[dict[str, str]]:
    return json.loads(body_of(ASKS.all[place], ASKS, "m"))["messages"]


def test_a_conversation_is_known_by_its_first_message() -> None:
    assert [request.before for request in ASKS.all] == [-1, -1, 0, 2]
    assert len({request.conversation for request in ASKS.all}) == 2
    assert [request.at_s - BEGIN_S for request in ASKS.all] == [0, 5, 60, 90]


def test_each_turn_begins_with_all_of_the_one_before() -> None:
    first, second, third = _messages(0), _messages(2), _messages(3)
    assert [message["role"] for message in first] == ["system", "user"]
    assert [message["role"] for message in second] == ["system", "user", "assistant", "user"]
    assert [message["role"] for message in third] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert second[:2] == first
    assert third[:4] == second
    assert len(second[2]["content"]) == 4 * TURNS[0].output_length, "the first turn's answer"


def test_another_conversation_shares_the_system_prompt_alone() -> None:
    assert _messages(1)[0] == _messages(0)[0]
    assert _messages(1)[1] != _messages(0)[1]


def test_a_body_is_as_long_as_its_prompt() -> None:
    for place, request in enumerate(ASKS.all):
        assert len("".join(message["content"] for message in _messages(place))) == 4 * request.prompt_tokens


def test_a_turn_that_goes_on_otherwise_shares_what_came_before() -> None:
    edited = requests_of([*TURNS, row(95, 0, 1, 2, 3, 70, 71, 83, tokens=3_500)], BEGIN_S)
    before, after = (json.loads(body_of(edited.all[place], edited, "m"))["messages"] for place in (3, 4))
    shared = sum(one == other for one, other in zip(before, after, strict=False))
    assert 2 <= shared < len(before)


def test_equal_ids_after_different_beginnings_are_different_texts() -> None:
    one, other = requests_of([row(0, 1, 7), row(1, 2, 7)], BEGIN_S).all
    assert one.blocks[1] != other.blocks[1]


def test_a_prompt_without_a_head_of_others_has_no_system_prompt() -> None:
    [request] = requests_of([row(0, 1, 2, 3)], BEGIN_S).all
    assert request.messages == ((3 * 512, "user"),)
