"""What the requests of a trace have in common, and the bodies that stand for them."""

import json

from tests.lab.replay.small_world import BEGIN_S, row

from limpet_lab.replay.bodies import body_of
from limpet_lab.replay.requests import asks_of

TURNS = [
    row(0, 0, 1, 2, 80, tokens=1_600),
    row(5, 0, 9, 81, tokens=1_100),
    row(60, 0, 1, 2, 3, 4, 82, tokens=2_700),
    row(90, 0, 1, 2, 3, 4, 5, 6),
]
"""A conversation of three turns and one of a single turn, below the same first block."""


def test_a_conversation_is_known_by_its_first_message() -> None:
    asks = asks_of(TURNS, BEGIN_S)
    assert [ask.before for ask in asks] == [-1, -1, 0, 2]
    assert len({ask.conversation for ask in asks}) == 2
    assert [ask.at_s - BEGIN_S for ask in asks] == [0, 5, 60, 90]


def test_the_first_block_that_all_share_is_the_system_prompt() -> None:
    first, _, second, third = (json.loads(body_of(ask, "m"))["messages"] for ask in asks_of(TURNS, BEGIN_S))
    assert [message["role"] for message in first] == ["system", "user", "user"]
    assert [message["role"] for message in third] == ["system", "user", "assistant", "user"]
    assert first[:2] == second[:2] == third[:2]
    assert third[:3] == [*second[:2], third[2]]


def test_a_body_is_as_long_as_its_prompt() -> None:
    for ask in asks_of(TURNS, BEGIN_S):
        text = "".join(message["content"] for message in json.loads(body_of(ask, "m"))["messages"])
        assert len(text) == 4 * ask.prompt_tokens


def test_equal_ids_after_different_beginnings_are_different_texts() -> None:
    one, other = asks_of([row(0, 1, 7), row(1, 2, 7)], BEGIN_S)
    assert one.blocks[1] != other.blocks[1]


def test_a_prompt_without_a_head_of_others_has_no_system_prompt() -> None:
    [ask] = asks_of([row(0, 1, 2, 3)], BEGIN_S)
    assert (ask.has_system, ask.messages) == (False, (3,))
