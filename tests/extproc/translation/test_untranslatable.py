"""What cannot be carried over, and which field says so."""

import json
from typing import Any, Final

import pytest
from tests.extproc.translation.shapes import chat, user

from limpet_extproc.translation.request import untranslatable

CALL: Final = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}

CASES: Final[dict[str, dict[str, Any]]] = {
    "n": chat(n=2),
    "logprobs": chat(logprobs=True),
    "top_logprobs": chat(top_logprobs=3),
    "logit_bias": chat(logit_bias={"1": 5}),
    "frequency_penalty": chat(frequency_penalty=0.5),
    "presence_penalty": chat(presence_penalty=-1),
    "modalities": chat(modalities=["text", "audio"]),
    "audio": chat(audio={"voice": "alloy", "format": "mp3"}),
    "web_search_options": chat(web_search_options={}),
    "functions": chat(functions=[{"name": "f"}]),
    "function_call": chat(function_call={"name": "f"}),
    "temperature": chat(temperature=1.5),
    "top_p": chat(top_p="high"),
    "stop": chat(stop=["\n"]),
    "service_tier": chat(service_tier="flex"),
    "reasoning_effort": chat(reasoning_effort="much"),
    "something_new": chat(something_new=1),
    "tool_choice": chat(tools=[{"type": "function", "function": {"name": "f"}}], tool_choice="sometimes"),
    "tool_choice.type": chat(
        tools=[{"type": "function", "function": {"name": "f"}}], tool_choice={"type": "allowed_tools"}
    ),
    "tools[0].type": chat(tools=[{"type": "custom", "custom": {"name": "f"}}]),
    "tools[0].function.parameters": chat(tools=[{"type": "function", "function": {"name": "f", "parameters": 1}}]),
    "response_format.type": chat(response_format={"type": "grammar"}),
    "response_format.json_schema.schema": chat(response_format={"type": "json_schema", "json_schema": {"name": "n"}}),
    "messages": chat(messages="Hi"),
    "messages[0].role": chat(messages=[{"role": "function", "name": "f", "content": "1"}]),
    "messages[0].content": chat(messages=[user(5)]),
    "messages[0].content[0].type": chat(messages=[user([{"type": "input_audio", "input_audio": {}}])]),
    "messages[0].content[0].file.file_id": chat(messages=[user([{"type": "file", "file": {"file_id": "file-1"}}])]),
    "messages[0].content[0].file.file_data": chat(
        messages=[user([{"type": "file", "file": {"file_data": "data:text/csv;base64,YQ=="}}])]
    ),
    "messages[0].content[0].image_url.url": chat(
        messages=[user([{"type": "image_url", "image_url": {"url": "data:image/tiff;base64,YQ=="}}])]
    ),
    "messages[1].tool_calls[0].function.arguments": chat(
        messages=[user("Hi"), {"role": "assistant", "tool_calls": [CALL]}]
    ),
    "messages[1].tool_calls[0].type": chat(
        messages=[user("Hi"), {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {}}]}]
    ),
    "messages[1].audio": chat(messages=[user("Hi"), {"role": "assistant", "audio": {"id": "a"}}]),
    "messages[1].function_call": chat(messages=[user("Hi"), {"role": "assistant", "function_call": {"name": "f"}}]),
    "messages[0].tool_call_id": chat(messages=[{"role": "tool", "content": "1"}]),
}


@pytest.mark.parametrize("field", CASES)
def test_the_field_is_named(field: str) -> None:
    found = untranslatable(json.dumps(CASES[field]).encode())
    assert found is not None
    assert found.field == field


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"temperature": 1.5}, "temperature", "highest that Anthropic takes is 1"),
        ({"messages": [{"role": "bot", "content": "Hi"}]}, "messages[0].role", "system, developer, user, assistant or"),
        (
            {"messages": [user([{"type": "input_audio"}])]},
            "messages[0].content[0].type",
            "takes no audio; parts may be",
        ),
        ({"max_tokens": 0}, "max_tokens", "the least is 1"),
        ({"max_completion_tokens": -1}, "max_completion_tokens", "the least is 1"),
        ({"logprobs": True}, "logprobs", "reports no probabilities"),
    ],
)
def test_and_the_reason_is_given(fields: dict[str, Any], field: str, says: str) -> None:
    found = untranslatable(json.dumps(chat(**fields)).encode())
    assert found is not None
    assert found.field == field
    assert says in found.why


def test_what_can_be_carried_over() -> None:
    assert untranslatable(json.dumps(chat()).encode()) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"messages": [{"role": "user", "content": "\\ud800"}]}'])
def test_bodies_that_are_none_are_no_bug(body: bytes) -> None:
    found = untranslatable(body)
    assert found is not None
    assert found.field == "messages"
