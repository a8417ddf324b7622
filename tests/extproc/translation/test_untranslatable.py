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


F: Final = {"type": "function", "function": {"name": "f"}}


def tool(**declared: Any) -> dict[str, Any]:
    return chat(tools=[{"type": "function", "function": {"name": "f", **declared}}])


def said(content: Any, role: str = "user") -> dict[str, Any]:
    return chat(messages=[{"role": role, "content": content}, user("Hi")])


def image(url: str) -> list[dict[str, Any]]:
    return [{"type": "image_url", "image_url": {"url": url}}]


def called(*rest: dict[str, Any], ids: tuple[str, ...] = ("a",), name: str = "f") -> dict[str, Any]:
    calls = [{"id": each, "type": "function", "function": {"name": name, "arguments": "{}"}} for each in ids]
    return chat(messages=[user("Go"), {"role": "assistant", "tool_calls": calls}, *rest], tools=[F])


def result(id_: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": "1"}


REFUSED_THERE: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "no messages": (chat(messages=[]), "messages"),
    "nothing said": (chat(messages=[user("")]), "messages"),
    "null": (chat(messages=[user(None)]), "messages"),
    "no parts": (chat(messages=[user([]), user([{"type": "text", "text": " "}])]), "messages"),
    "call without result": (called(user("Hi")), "messages[1].tool_calls[0].id"),
    "last call without result": (called(result("a"), ids=("a", "b")), "messages[1].tool_calls[1].id"),
    "call at the end": (called(), "messages[1].tool_calls[0].id"),
    "result without call": (chat(messages=[user("Hi"), result("a")]), "messages[1].tool_call_id"),
    "result of an earlier call": (
        called(result("a"), {"role": "assistant", "content": "So."}, result("a")),
        "messages[4].tool_call_id",
    ),
    "two results": (called(result("a"), result("a")), "messages[3].tool_call_id"),
    "name of a call": (called(result("a"), name="a.b"), "messages[1].tool_calls[0].function.name"),
    "name of a tool": (tool(name="a.b/c"), "tools[0].function.name"),
    "long name": (tool(name="f" * 129), "tools[0].function.name"),
    "two of a name": (chat(tools=[F, F]), "tools[1].function.name"),
    "schema of a string": (tool(parameters={"type": "string"}), "tools[0].function.parameters.type"),
    "schema of types": (tool(parameters={"type": ["object"]}), "tools[0].function.parameters.type"),
    "schema of any": (tool(parameters={"anyOf": [{"type": "object"}]}), "tools[0].function.parameters.anyOf"),
    "unknown tool": (
        chat(tools=[F], tool_choice={"type": "function", "function": {"name": "g"}}),
        "tool_choice.function.name",
    ),
    "no tool to choose": (chat(tools=[], tool_choice="required"), "tool_choice"),
    "http image": (said(image("http://x/y.png")), "messages[0].content[0].image_url.url"),
    "empty image": (said(image("data:image/png;base64,")), "messages[0].content[0].image_url.url"),
    "broken image": (said(image("data:image/png;base64,AA-_")), "messages[0].content[0].image_url.url"),
    "image without padding": (said(image("data:image/png;base64,QUI")), "messages[0].content[0].image_url.url"),
    "no base64": (said(image("data:image/png,AAAA")), "messages[0].content[0].image_url.url"),
    "broken file": (said([{"type": "file", "file": {"file_data": "%"}}]), "messages[0].content[0].file.file_data"),
    "image of the system": (said(image("https://x/y.png"), "system"), "messages[0].content[0].type"),
    "image of the assistant": (said(image("https://x/y.png"), "assistant"), "messages[0].content[0].type"),
    "max_tokens 0": (chat(max_tokens=0), "max_tokens"),
    "max_tokens -1": (chat(max_completion_tokens=-1), "max_completion_tokens"),
    "max_tokens absurd": (chat(max_tokens=10**30), "max_tokens"),
    "temperature below 0": (chat(temperature=-0.5), "temperature"),
    "top_p above 1": (chat(top_p=2), "top_p"),
    "top_k below 0": (chat(top_k=-1), "top_k"),
    "thinking without type": (chat(thinking={}), "thinking.type"),
    "no budget": (chat(thinking={"type": "enabled"}), "thinking.budget_tokens"),
    "budget above max_tokens": (
        chat(thinking={"type": "enabled", "budget_tokens": 4000}, max_tokens=4000),
        "thinking.budget_tokens",
    ),
    "thinking of another kind": (
        chat(messages=[user("Hi"), {"role": "assistant", "content": "x", "thinking_blocks": [{"type": "image"}]}]),
        "messages[1].thinking_blocks[0].type",
    ),
    "long field": (chat(**{"x" * 100_000: 1}), "x" * 200),
    "surrogate where nothing is read": (chat(metadata={"a": "\ud800"}), "messages"),
}


@pytest.mark.parametrize("name", REFUSED_THERE)
def test_what_anthropic_would_refuse(name: str) -> None:
    request, field = REFUSED_THERE[name]
    found = untranslatable(json.dumps(request).encode())
    assert found is not None
    assert found.field == field


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
