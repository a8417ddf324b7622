"""What the OpenAI client gets back, by value: answers as a whole."""

import json
from typing import Any, Final

import pytest
from anthropic.types import Message
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion

from limpet_extproc.translation.answer import chat_completion
from limpet_extproc.translation.errors import chat_error
from limpet_extproc.translation.lenient import UnreadableAnswerError

USAGE: Final = {"input_tokens": 5, "output_tokens": 7}


def message(*content: dict[str, Any], stop: str = "end_turn", **usage: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": list(content),
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {**USAGE, **usage},
    }


def completion(finish: str = "stop", **said: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 17,
        "model": "claude-x",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hi", "refusal": None, **said},
                "logprobs": None,
                "finish_reason": finish,
            }
        ],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
    }


HI: Final = {"type": "text", "text": "Hi"}
THINKING: Final = {"type": "thinking", "thinking": "hm", "signature": "s"}
REDACTED: Final = {"type": "redacted_thinking", "data": "x"}


def use(input_: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": "toolu_1", "name": "f", "input": input_}


def call(arguments: str) -> dict[str, Any]:
    return {"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": arguments}}


CASES: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "text": (message(HI), completion()),
    "texts": (message(HI, {"type": "text", "text": "!"}), completion(content="Hi!")),
    "nothing": (message(), completion(content="")),
    "call": (
        message(use({"a": 1}), stop="tool_use"),
        completion("tool_calls", content=None, tool_calls=[call('{"a": 1}')]),
    ),
    "text_and_call": (message(HI, use({}), stop="tool_use"), completion("tool_calls", tool_calls=[call("{}")])),
    "thinking": (message(THINKING, HI), completion(reasoning_content="hm", thinking_blocks=[THINKING])),
    "redacted": (message(REDACTED, HI), completion(thinking_blocks=[REDACTED])),
    "length": (message(HI, stop="max_tokens"), completion("length")),
    "window": (message(HI, stop="model_context_window_exceeded"), completion("length")),
    "stop_sequence": (message(HI, stop="stop_sequence"), completion("stop")),
    "paused": (message(HI, stop="pause_turn"), completion("stop")),
    "refusal": (message(HI, stop="refusal"), completion("content_filter")),
    "newer_reason": (message(HI, stop="something_new"), completion("stop")),
    "cache": (
        message(HI, cache_read_input_tokens=100, cache_creation_input_tokens=20),
        {
            **completion(),
            "usage": {
                "prompt_tokens": 125,
                "completion_tokens": 7,
                "total_tokens": 132,
                "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 20},
            },
        },
    ),
    "lifetimes_and_reasoning": (
        message(
            HI,
            cache_read_input_tokens=0,
            cache_creation_input_tokens=30,
            cache_creation={"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
            output_tokens_details={"thinking_tokens": 3},
            service_tier="priority",
        ),
        {
            **completion(),
            "usage": {
                "prompt_tokens": 35,
                "completion_tokens": 7,
                "total_tokens": 42,
                "prompt_tokens_details": {
                    "cached_tokens": 0,
                    "cache_write_tokens": 30,
                    "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
                },
                "completion_tokens_details": {"reasoning_tokens": 3},
            },
            "service_tier": "priority",
        },
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_client_gets(name: str) -> None:
    answer, expected = CASES[name]
    if name != "newer_reason":
        Message.model_validate(answer)
    got = json.loads(chat_completion(json.dumps(answer).encode(), 17))
    assert got == expected
    ChatCompletion.model_validate(got)


def test_arguments_stay_as_they_were_written() -> None:
    written = '{"b": 1.0, "a": 1e3}'
    answer = json.dumps(message(use("?"))).replace('"?"', written).encode()
    got = json.loads(chat_completion(answer, 17))
    assert got["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == written


ERRORS: Final = {
    "invalid_request_error": "invalid_request_error",
    "rate_limit_error": "rate_limit_error",
    "overloaded_error": "server_error",
    "billing_error": "insufficient_quota",
    "a_new_error": "server_error",
}


@pytest.mark.parametrize("type_", ERRORS)
def test_errors_keep_their_words(type_: str) -> None:
    said = {
        "type": "error",
        "error": {"type": type_, "message": "prompt is too long: 9 > 8 “tokens”"},
        "request_id": "r",
    }
    got = json.loads(chat_error(json.dumps(said).encode()))
    assert got == {"error": {"message": said["error"]["message"], "type": ERRORS[type_], "param": None, "code": type_}}


ODD: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "usage null": ({"usage": None}, "Hi"),
    "usage of text": ({"usage": {"input_tokens": "5", "service_tier": 5, "cache_creation": []}}, "Hi"),
    "usage of fractions": ({"usage": {"input_tokens": 5.0, "output_tokens": 2}}, "Hi"),
    "content null": ({"content": None}, ""),
    "id null": ({"id": None, "model": 5}, "Hi"),
    "text null": ({"content": [{"type": "text", "text": None}, HI]}, "Hi"),
    "signature null": ({"content": [{"type": "thinking", "thinking": "x", "signature": None}, HI]}, "Hi"),
    "newer block": ({"content": [{"type": "new", "text": {"a": 1}, "data": {}, "id": 5}, HI]}, "Hi"),
    "newer block with text": ({"content": [{"type": "new", "text": "hidden", "thinking": "hidden"}, HI]}, "Hi"),
    "block of text": ({"content": ["x", HI, None]}, "Hi"),
    "block without a type": ({"content": [{"text": "Hi"}]}, "Hi"),
    "half a surrogate pair": ({"content": [{"type": "text", "text": "Hi\ud83d"}]}, "Hi\ufffd"),
    "stop_reason of a number": ({"stop_reason": 5}, "Hi"),
}


@pytest.mark.parametrize("name", ODD)
def test_one_odd_value_costs_no_answer(name: str) -> None:
    odd, text = ODD[name]
    got = json.loads(chat_completion(json.dumps({**message(HI), **odd}).encode(), 17))
    assert got["choices"][0]["message"]["content"] == text
    ChatCompletion.model_validate(got)


def test_a_fraction_that_is_none_is_counted() -> None:
    odd = {"usage": {"input_tokens": 5.0, "output_tokens": 2}}
    got = json.loads(chat_completion(json.dumps({**message(HI), **odd}).encode(), 17))
    assert got["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def test_a_call_without_an_id_has_one() -> None:
    odd = {"type": "tool_use", "id": None, "name": "f", "input": {"a": 10**30, "b": 1.0}}
    got = json.loads(chat_completion(json.dumps(message(odd)).encode(), 17))
    (call,) = got["choices"][0]["message"]["tool_calls"]
    assert call["id"] == "call_0"
    assert call["function"]["arguments"] == '{"a": 1000000000000000000000000000000, "b": 1.0}'


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"{}", b'{"error": "no"}', b'{"id": 1}', b"[]", b'{"error": {"message": "x"}}']
)
def test_what_is_no_answer_is_told(body: bytes) -> None:
    with pytest.raises(UnreadableAnswerError):
        chat_completion(body, 17)


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (b'{"type": "error", "error": {"type": null, "message": "x"}}', "x", "api_error"),
        (b'{"type": "error", "error": {"type": "api_error"}}', "The provider gave no reason.", "api_error"),
        (b'{"type": "error", "error": "boom"}', "The provider answered with an error: boom", "api_error"),
        (b"<html>no", "The provider answered with an error: <html>no", "api_error"),
        (b"", "The provider gave no reason.", "api_error"),
        (b"\xff" * 5000, "The provider answered with an error: " + "\ufffd" * 200, "api_error"),
    ],
    ids=["type_null", "no_message", "text", "html", "nothing", "long"],
)
def test_an_odd_error_is_one(body: bytes, message: str, code: str) -> None:
    assert json.loads(chat_error(body))["error"] == {
        "message": message,
        "type": "server_error",
        "param": None,
        "code": code,
    }


def test_an_error_in_openais_shape_stays_as_it_is() -> None:
    body = b'{"error": {"message": "x", "type": "y", "param": "z"}}'
    assert chat_error(body) == body


_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "id"]), inner),
    max_leaves=8,
)


@given(st.sampled_from(["usage", "id", "model", "stop_reason", "stop_sequence", "role"]), _JSON)
def test_the_text_is_never_lost(field: str, value: Any) -> None:
    got = json.loads(chat_completion(json.dumps({**message(HI), field: value}).encode(), 17))
    assert got["choices"][0]["message"]["content"] == "Hi"
