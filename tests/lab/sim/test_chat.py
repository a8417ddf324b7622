"""What is refused, and with which words."""

import json
from typing import Any

import pytest

from limpet_lab.sim.chat import read_chat
from limpet_lab.sim.refusal import RefusalError
from limpet_lab.sim.rules import fields_of, rules_for, vendors

_USER = {"role": "user", "content": "hi"}
_TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def _body(**fields: object) -> bytes:
    return json.dumps({"model": "m", "messages": [_USER], **fields}).encode()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b"\xff", None),
        (b'{"a":' * 3000, None),
        (b'{"messages": []}', "model"),
        (_body(model=7), "model"),
        (_body(messages=[]), "messages"),
        (_body(messages="hi"), "messages"),
        (_body(messages=["hi"]), "messages[0]"),
        (_body(messages=[_USER, {"role": "king", "content": "hi"}]), "messages[1].role"),
        (_body(messages=[{"role": "user"}]), "messages[0].content"),
        (_body(messages=[{"role": "user", "content": []}]), "messages[0].content"),
        (_body(messages=[{"role": "user", "content": [{"type": "text"}]}]), "messages[0].content"),
        (_body(stream="yes"), "stream"),
        (_body(stream_options={"include_usage": True}), "stream_options"),
        (_body(n=2), "n"),
        (_body(max_tokens=0), "max_tokens"),
        (_body(max_tokens=True), "max_tokens"),
        (_body(temperature="hot"), "temperature"),
        (_body(tools=[{"type": "function"}]), "tools"),
        (_body(tools=[_TOOL], tool_choice={"type": "function", "function": {"name": "other"}}), "tool_choice"),
    ],
)
def test_a_malformed_body_is_a_400_that_names_the_field(body: bytes, param: str | None) -> None:
    with pytest.raises(RefusalError) as refusal:
        read_chat(body, fields_of("chat"))
    error: Any = refusal.value.body()["error"]
    assert refusal.value.status == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param


def test_unknown_fields_are_named_when_strict_and_pass_otherwise() -> None:
    body = _body(provider={"order": ["x"]}, sort="price")
    with pytest.raises(RefusalError, match="Unrecognized request argument supplied: provider, sort"):
        read_chat(body, fields_of("chat"))
    assert read_chat(body, None).model == "m"


@pytest.mark.parametrize(
    ("fields", "called"),
    [
        ({}, False),
        ({"tool_choice": "required"}, True),
        ({"tool_choice": {"type": "function", "function": {"name": "weather"}}}, True),
        ({"messages": [{"role": "user", "content": "use weather now"}]}, True),
        ({"messages": [{"role": "user", "content": "use weather now"}], "tool_choice": "none"}, False),
        ({"messages": [{"role": "user", "content": "weather"}, {"role": "assistant", "content": "no"}]}, False),
    ],
)
def test_when_the_answer_calls_a_tool(fields: dict[str, object], called: bool) -> None:
    chat = read_chat(_body(tools=[_TOOL], **fields), fields_of("chat"))
    assert (chat.tool is not None) is called


def test_every_vendor_of_the_file_has_valid_rules() -> None:
    names = vendors()
    assert {"OpenAI", "DeepSeek", "Moonshot", "VLLM"} <= set(names)
    for name in names:
        rules = rules_for(name)
        assert ("prompt" in rules.usage.values()) is ("OpenAIChat" in rules.dialects)
