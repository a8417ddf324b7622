"""What the OpenAI client gets back, by value: answers as a whole."""

import json
from typing import Any, Final

import pytest
from anthropic.types import Message
from openai.types.chat import ChatCompletion

from limpet_extproc.translation.answer import chat_completion

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
    got = json.loads(chat_completion(json.dumps(said).encode(), 17))
    assert got == {"error": {"message": said["error"]["message"], "type": ERRORS[type_], "param": None, "code": type_}}


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"error": "no"}', b'{"id": 1}'])
def test_what_is_no_answer_stays_as_it_is(body: bytes) -> None:
    assert chat_completion(body, 17) == body
