"""Where a breakpoint goes that is to cache the whole prompt."""

import json
from typing import Any

import pytest

from limpet_extproc.dialects.anthropic_messages import AnthropicMessages
from limpet_extproc.dialects.cache_directives import MAX_OBJECTS
from limpet_extproc.dialects.last_block import LOOK_BACK, MAX_BLOCKS
from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.dialects.port import Dialect

CHAT, MESSAGES = OpenAIChat(), AnthropicMessages()
USER = {"role": "user", "content": "hi"}
EMPTY = {"type": "text", "text": ""}
A, B = {"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}
THINKING = {"type": "thinking", "thinking": "hm", "signature": "s"}
CALL = {"type": "tool_use", "id": "1", "name": "f", "input": {"x": [1]}}
RESULT = {"type": "tool_result", "tool_use_id": "1", "content": [A]}
IMAGE = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1/a.png"}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {}}]}
TOOL = {"name": "f", "input_schema": {"type": "object"}}


def found(dialect: Dialect, **fields: Any) -> tuple[Any, bool] | None:
    """The value that was found as the last, and whether it is a text."""
    return next(iter(all_found(dialect, **fields)), None)


def all_found(dialect: Dialect, **fields: Any) -> list[tuple[Any, bool]]:
    """All that was found."""
    body = b" " + json.dumps({"model": "m", **fields}).encode()
    blocks = dialect.last_blocks(body)
    return [(json.loads(body[each.span.offset : sum(each.span)]), each.is_text) for each in blocks]


def turn(role: str, *blocks: Any) -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


@pytest.mark.parametrize("dialect", [CHAT, MESSAGES], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([USER], ("hi", True)),
        ([turn("user", A), USER], ("hi", True)),
        ([USER, turn("user", A, B)], (B, False)),
        ([USER, turn("user", A, EMPTY)], (A, False)),
        ([turn("user", A), {"role": "assistant", "content": ""}], (A, False)),
        ([turn("user", A), turn("user", {"type": "text"}, {"type": "text", "text": None})], (A, False)),
        ([turn("user", A), turn("user")], (A, False)),
        ([turn("user", A), {"role": "user"}], (A, False)),
        ([turn("user", A), turn("assistant", THINKING)], (A, False)),
        ([USER, {"role": "assistant", "content": '{"'}], ('{"', True)),
        ([USER, {"role": "user", "content": "torn \ud83e"}], ("torn \ud83e", True)),
        ([turn("user", A), CALLS], (A, False)),
        ([turn("user", A), {"role": "user", "content": 5}, turn("user", 5, "x", [A]), turn("user", A, 5)], (A, False)),
        ([turn("user", A), turn("user", {"type": 5}, {"text": "x"}, {"type": "\ud83e"})], (A, False)),
    ],
)
def test_the_last_block_that_may_have_a_breakpoint_ends_the_prompt(
    dialect: Dialect, messages: list[Any], expected: tuple[Any, bool]
) -> None:
    assert found(dialect, messages=messages, tools=[TOOL]) == expected


@pytest.mark.parametrize("block", [CALL, RESULT, IMAGE, {"type": "document", "source": {}}])
def test_messages_end_with_other_blocks_than_texts_too_and_chat_does_not(block: dict[str, Any]) -> None:
    messages = [turn("user", A), turn("user", block, THINKING)]
    assert found(MESSAGES, messages=messages) == (block, False)
    assert found(CHAT, messages=messages) == (A, False)


def test_without_any_in_the_messages_it_is_the_system_prompt_or_a_tool() -> None:
    nothing, system = [turn("assistant", THINKING)], [A, B, EMPTY]
    assert found(MESSAGES, messages=nothing, system=system, tools=[TOOL]) == (B, False)
    assert found(MESSAGES, messages=nothing, system="Be brief.", tools=[TOOL]) == ("Be brief.", True)
    assert found(MESSAGES, messages=nothing, system="", tools=[{"name": "g"}, TOOL]) == (TOOL, False)
    assert found(MESSAGES, messages=nothing, system=[EMPTY], tools=[TOOL]) == (TOOL, False)
    assert found(MESSAGES, messages=nothing, system=[EMPTY], tools=[TOOL, 5]) is None
    assert found(MESSAGES, messages=[USER, 5], system="Be brief.") is None
    assert found(MESSAGES, messages=nothing, system=5, tools={}) is None
    assert found(MESSAGES, messages=nothing) is None


def test_the_search_ends_after_so_many_blocks() -> None:
    assert found(MESSAGES, messages=[USER, turn("user", *[EMPTY] * (MAX_BLOCKS - 4))]) == ("hi", True)
    assert found(MESSAGES, messages=[USER, turn("user", *[EMPTY] * MAX_BLOCKS)]) is None
    assert found(MESSAGES, messages=[USER], x=[{}] * MAX_OBJECTS) is None


@pytest.mark.parametrize("blocks", range(LOOK_BACK + 5))
def test_the_end_of_the_prompt_before_is_found_too_where_no_look_back_reaches_it(blocks: int) -> None:
    messages = [USER, turn("user", A), turn("assistant", THINKING, *[CALL] * blocks), turn("user", RESULT)]
    one, *more = all_found(MESSAGES, messages=messages)
    assert one == (RESULT, False)
    # From one block to the other, counting both; a message or two may count as well.
    between = blocks + 3
    assert more == [(A, False)] or (not more and between <= LOOK_BACK)
    assert not more or between > LOOK_BACK - 4


def test_many_calls_at_once_and_their_results_are_passed_over() -> None:
    calls: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function"}] * 45}
    results = [{"role": "tool", "tool_call_id": "1", "content": f"{number}"} for number in range(45)]
    assert all_found(CHAT, messages=[USER, calls, *results]) == [("44", True), ("hi", True)]
    assert all_found(CHAT, messages=[USER, {**calls, "content": "Well"}, *results]) == [("44", True), ("hi", True)]
    blocks = [turn("assistant", *[CALL] * 45), turn("user", *[RESULT] * 45)]
    assert all_found(MESSAGES, messages=[turn("user", B), *blocks]) == [(RESULT, False), (B, False)]
    assert all_found(MESSAGES, messages=[turn("user", B), *blocks, *blocks]) == [(RESULT, False), (RESULT, False)]


def test_before_the_first_answer_there_is_no_prompt() -> None:
    assert all_found(MESSAGES, messages=[turn("user", *[A] * 50)]) == [(A, False)]
    assert all_found(MESSAGES, messages=[turn("assistant", *[A] * 50), turn("user", *[A] * 50)]) == [(A, False)]
