"""What the Anthropic side gets, by value: a table of chat requests of different shapes."""

import json
from typing import Any, Final

import pytest
from anthropic.types.message_create_params import MessageCreateParams
from pydantic import TypeAdapter
from tests.extproc.translation.shapes import MODEL, chat, text, user

from limpet_extproc.translation.request import translated

PDF: Final = "JVBERi0xLjQ="
PNG: Final = "iVBORw0KGgo="
MARK: Final = {"type": "ephemeral"}
HOUR: Final = {"type": "ephemeral", "ttl": "1h"}
F: Final = {"type": "function", "function": {"name": "f", "description": "does", "parameters": {"type": "object"}}}
TOOL: Final = {"name": "f", "description": "does", "input_schema": {"type": "object"}}
SCHEMA: Final = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}


def call(arguments: str = "{}", id_: str = "call_1", name: str = "f") -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def use(input_: Any = None, id_: str = "call_1", name: str = "f") -> dict[str, Any]:
    return {"type": "tool_use", "id": id_, "name": name, "input": input_ or {}}


def result(id_: str = "call_1", content: Any = "1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": content}


def got(id_: str = "call_1", content: Any = "1") -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id_, "content": content}


def turn(role: str, *content: Any) -> dict[str, Any]:
    return {"role": role, "content": list(content)}


def assistant(content: Any = None, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **fields}


def asked(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return chat(messages=list(messages), **fields)


CASES: Final[dict[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "a_question": (chat(), {}),
    "system": (
        asked({"role": "system", "content": "Be brief."}, user("Hi")),
        {"system": [text("Be brief.")]},
    ),
    "system_and_developer": (
        asked({"role": "system", "content": "A"}, {"role": "developer", "content": [text("B"), text("C")]}, user("Hi")),
        {"system": [text("A"), text("B"), text("C")]},
    ),
    "only_system": (
        asked({"role": "system", "content": "A"}, {"role": "system", "content": "B"}),
        {"system": [text("A")], "messages": [{"role": "user", "content": [text("B")]}]},
    ),
    "system_in_between": (
        asked(
            user("Hi"), {"role": "assistant", "content": "Yes?"}, {"role": "system", "content": "Rhyme."}, user("Go")
        ),
        {
            "messages": [
                {"role": "user", "content": [text("Hi")]},
                {"role": "assistant", "content": [text("Yes?")]},
                {"role": "user", "content": [text("<system>\nRhyme.\n</system>"), text("Go")]},
            ]
        },
    ),
    "turns": (
        asked(
            user("1"), {"role": "assistant", "content": [text("2"), {"type": "refusal", "refusal": "no"}]}, user("3")
        ),
        {
            "messages": [
                {"role": "user", "content": [text("1")]},
                {"role": "assistant", "content": [text("2"), text("no")]},
                {"role": "user", "content": [text("3")]},
            ]
        },
    ),
    "two_of_one_side": (
        asked(user("1"), user("2")),
        {"messages": [{"role": "user", "content": [text("1"), text("2")]}]},
    ),
    "empty_texts": (
        asked(user([text(""), text("x")]), {"role": "assistant", "content": ""}),
        {"messages": [{"role": "user", "content": [text("x")]}]},
    ),
    "tool": (chat(tools=[F]), {"tools": [TOOL]}),
    "tool_without_parameters": (
        chat(tools=[{"type": "function", "function": {"name": "g"}}]),
        {"tools": [{"name": "g", "input_schema": {"type": "object"}}]},
    ),
    "tool_strict": (
        chat(tools=[{"type": "function", "function": {"name": "g", "strict": True, "parameters": SCHEMA}}]),
        {"tools": [{"name": "g", "input_schema": SCHEMA, "strict": True}]},
    ),
    "tool_without_type_of_schema": (
        chat(tools=[{"type": "function", "function": {"name": "g", "parameters": {"properties": {}}}}]),
        {"tools": [{"name": "g", "input_schema": {"type": "object", "properties": {}}}]},
    ),
    "choice_auto": (chat(tools=[F], tool_choice="auto"), {"tools": [TOOL], "tool_choice": {"type": "auto"}}),
    "choice_none": (chat(tools=[F], tool_choice="none"), {"tools": [TOOL], "tool_choice": {"type": "none"}}),
    "choice_required": (chat(tools=[F], tool_choice="required"), {"tools": [TOOL], "tool_choice": {"type": "any"}}),
    "choice_named": (
        chat(tools=[F], tool_choice={"type": "function", "function": {"name": "f"}}),
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f"}},
    ),
    "one_call_at_a_time": (
        chat(tools=[F], parallel_tool_calls=False),
        {"tools": [TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    "one_call_of_any": (
        chat(tools=[F], tool_choice="required", parallel_tool_calls=False),
        {"tools": [TOOL], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
    ),
    "calls_and_results": (
        asked(
            user("Go"),
            {"role": "assistant", "content": "So.", "tool_calls": [call('{"x": 1}'), call("", "call_2")]},
            {"role": "tool", "tool_call_id": "call_1", "content": "one"},
            {"role": "tool", "tool_call_id": "call_2", "content": [text("two"), text("2")]},
            user("And?"),
            tools=[F],
        ),
        {
            "tools": [TOOL],
            "messages": [
                {"role": "user", "content": [text("Go")]},
                {"role": "assistant", "content": [text("So."), use({"x": 1}), use(id_="call_2")]},
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "call_1", "content": "one"},
                        {"type": "tool_result", "tool_use_id": "call_2", "content": [text("two"), text("2")]},
                        text("And?"),
                    ],
                },
            ],
        },
    ),
    "result_after_a_word": (
        asked(
            user("Go"),
            {"role": "assistant", "tool_calls": [call()]},
            user("Hurry"),
            {"role": "tool", "tool_call_id": "call_1", "content": "one"},
            tools=[F],
        ),
        {
            "tools": [TOOL],
            "messages": [
                {"role": "user", "content": [text("Go")]},
                {"role": "assistant", "content": [use()]},
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "one"}, text("Hurry")],
                },
            ],
        },
    ),
    "odd_ids": (
        asked(
            user("Go"),
            {"role": "assistant", "tool_calls": [call(id_="functions.f:0")]},
            {"role": "tool", "tool_call_id": "functions.f:0", "content": ""},
            tools=[F],
        ),
        {
            "tools": [TOOL],
            "messages": [
                {"role": "user", "content": [text("Go")]},
                {"role": "assistant", "content": [use(id_="functions_f_0")]},
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "functions_f_0", "content": ""}],
                },
            ],
        },
    ),
    "called_but_undeclared": (
        asked(
            user("Go"),
            {"role": "assistant", "tool_calls": [call()]},
            {"role": "tool", "tool_call_id": "call_1", "content": "1"},
        ),
        {
            "tools": [{"name": "f", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "none"},
            "messages": [
                {"role": "user", "content": [text("Go")]},
                {"role": "assistant", "content": [use()]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "1"}]},
            ],
        },
    ),
    "image_inline": (
        asked(user([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}}])),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
                    ],
                }
            ]
        },
    ),
    "image_by_url": (
        asked(user([text("What?"), {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}])),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        text("What?"),
                        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                    ],
                }
            ]
        },
    ),
    "pdf": (
        asked(
            user([{"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}}])
        ),
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "document",
                            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
                            "title": "a.pdf",
                        }
                    ],
                }
            ]
        },
    ),
    "stop": (chat(stop="END"), {"stop_sequences": ["END"]}),
    "stops": (chat(stop=["A", "B"]), {"stop_sequences": ["A", "B"]}),
    "max_tokens": (chat(max_tokens=7), {"max_tokens": 7}),
    "max_completion_tokens": (chat(max_completion_tokens=9), {"max_tokens": 9}),
    "an_older_models_limit": (
        chat(model="claude-3-haiku-20240307"),
        {"model": "claude-3-haiku-20240307", "max_tokens": 4096},
    ),
    "another_makers_limit": (chat(model="MiniMax-M3"), {"model": "MiniMax-M3", "max_tokens": 8192}),
    "temperature": (chat(temperature=0), {"temperature": 0}),
    "temperature_before_top_p": (chat(temperature=0.5, top_p=0.9), {"temperature": 0.5}),
    "top_p": (chat(top_p=0.9), {"top_p": 0.9}),
    "no_sampling_since_4_7": (chat(model="claude-opus-5-5", temperature=0.2), {"model": "claude-opus-5-5"}),
    "user": (chat(user="u-1"), {"metadata": {"user_id": "u-1"}}),
    "safety_identifier": (chat(user="u-1", safety_identifier="s"), {"metadata": {"user_id": "s"}}),
    "effort_as_budget": (
        chat(reasoning_effort="high", temperature=0.2),
        {"thinking": {"type": "enabled", "budget_tokens": 16000}},
    ),
    "effort_of_a_short_answer": (
        chat(reasoning_effort="high", max_completion_tokens=4096),
        {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 4096},
    ),
    "no_effort_where_a_tool_is_forced": (
        chat(reasoning_effort="high", tools=[F], tool_choice="required"),
        {"tools": [TOOL], "tool_choice": {"type": "any"}},
    ),
    "effort_adaptive": (
        chat(model="claude-opus-4-8", reasoning_effort="minimal"),
        {"model": "claude-opus-4-8", "thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
    ),
    "effort_none": (
        chat(model="claude-sonnet-5-5", reasoning_effort="none"),
        {"model": "claude-sonnet-5-5", "thinking": {"type": "disabled"}},
    ),
    "effort_none_of_one_that_always_thinks": (
        chat(model="claude-fable-5-2", reasoning_effort="none"),
        {"model": "claude-fable-5-2", "output_config": {"effort": "low"}},
    ),
    "effort_of_one_that_cannot_think": (
        chat(model="claude-3-5-haiku-20241022", reasoning_effort="low"),
        {"model": "claude-3-5-haiku-20241022", "max_tokens": 8192},
    ),
    "thinking_sent_back": (
        asked(
            user("Go"),
            {
                "role": "assistant",
                "reasoning_content": "hm",
                "thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "hm", "signature": "s"}],
                "tool_calls": [call()],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "1"},
            tools=[F],
            reasoning_effort="low",
        ),
        {
            "tools": [TOOL],
            "thinking": {"type": "enabled", "budget_tokens": 2000},
            "messages": [
                {"role": "user", "content": [text("Go")]},
                {
                    "role": "assistant",
                    "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, use()],
                },
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "1"}]},
            ],
        },
    ),
    "thinking_as_anthropic_has_it": (
        chat(thinking={"type": "enabled", "budget_tokens": 2000}, temperature=1),
        {"thinking": {"type": "enabled", "budget_tokens": 2000}},
    ),
    "json_schema": (
        chat(response_format={"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": SCHEMA}}),
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    "json_object": (
        chat(response_format={"type": "json_object"}),
        {"system": [text("Answer with one JSON object and nothing else: no text around it, no code fence.")]},
    ),
    "breakpoints": (
        asked(
            {"role": "system", "content": [{**text("A"), "cache_control": HOUR}]},
            user([{**text("B"), "cache_control": MARK}]),
            {"role": "assistant", "content": "C", "cache_control": MARK},
            user("D"),
            tools=[{**F, "cache_control": HOUR}],
            cache_control=MARK,
        ),
        {
            "system": [{**text("A"), "cache_control": HOUR}],
            "tools": [{**TOOL, "cache_control": HOUR}],
            "cache_control": MARK,
            "messages": [
                {"role": "user", "content": [{**text("B"), "cache_control": MARK}]},
                {"role": "assistant", "content": [{**text("C"), "cache_control": MARK}]},
                {"role": "user", "content": [text("D")]},
            ],
        },
    ),
    "breakpoints_of_results": (
        asked(
            user("Go"),
            {"role": "assistant", "tool_calls": [call(), call(id_="call_2"), call(id_="call_3")]},
            {"role": "tool", "tool_call_id": "call_1", "content": [{**text("one"), "cache_control": HOUR}]},
            {"role": "tool", "tool_call_id": "call_2", "content": [{**text("2"), "cache_control": MARK}, text("b")]},
            {"role": "tool", "tool_call_id": "call_3", "content": [text("three")], "cache_control": MARK},
            tools=[F],
        ),
        {
            "tools": [TOOL],
            "messages": [
                {"role": "user", "content": [text("Go")]},
                {"role": "assistant", "content": [use(), use(id_="call_2"), use(id_="call_3")]},
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "call_1", "content": "one", "cache_control": HOUR},
                        {
                            "type": "tool_result",
                            "tool_use_id": "call_2",
                            "content": [text("2"), text("b")],
                            "cache_control": MARK,
                        },
                        {"type": "tool_result", "tool_use_id": "call_3", "content": "three", "cache_control": MARK},
                    ],
                },
            ],
        },
    ),
    "white_space_alone": (
        asked(
            {"role": "system", "content": " "},
            user([text("\n"), text("Go")]),
            assistant("\n\n", tool_calls=[call()]),
            result(content=[text(" "), text("1")]),
            tools=[F],
        ),
        {
            "tools": [TOOL],
            "messages": [turn("user", text("Go")), turn("assistant", use()), turn("user", got())],
        },
    ),
    "beginning_of_an_answer": (
        asked(user("Go"), assistant("The answer is \n"), reasoning_effort="high"),
        {"messages": [turn("user", text("Go")), turn("assistant", text("The answer is"))]},
    ),
    "same_id_in_two_turns": (
        asked(
            user("Go"),
            *(assistant(tool_calls=[call()]), result(content="1")),
            *(assistant(tool_calls=[call()]), result(content="2")),
            tools=[F],
        ),
        {
            "tools": [TOOL],
            "messages": [
                turn("user", text("Go")),
                *(turn("assistant", use()), turn("user", got(content="1"))),
                *(turn("assistant", use(id_="call_1_2")), turn("user", got("call_1_2", "2"))),
            ],
        },
    ),
    "ids_that_differ_in_odd_letters": (
        asked(
            user("Go"),
            assistant(tool_calls=[call(id_="f.1"), call(id_="f:1"), call(id_="f_1_2"), call(id_="")]),
            *(result("f:1"), result(""), result("f.1"), result("f_1_2")),
            tools=[F],
        ),
        {
            "tools": [TOOL],
            "messages": [
                turn("user", text("Go")),
                turn("assistant", *(use(id_=each) for each in ("f_1", "f_1_2", "f_1_2_2", "call"))),
                turn("user", *(got(each) for each in ("f_1_2", "call", "f_1", "f_1_2_2"))),
            ],
        },
    ),
    "breakpoint_after_thinking": (
        asked(
            user("Go"),
            assistant(
                "So.",
                thinking_blocks=[{"type": "thinking", "thinking": "hm", "signature": "s", "cache_control": MARK}],
                cache_control=MARK,
            ),
            user("On"),
        ),
        {
            "messages": [
                turn("user", text("Go")),
                turn(
                    "assistant",
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {**text("So."), "cache_control": MARK},
                ),
                turn("user", text("On")),
            ]
        },
    ),
    "thinking_that_nobody_signed": (
        asked(
            user("Go"),
            assistant("So.", thinking_blocks=[{"type": "thinking", "thinking": "hm", "signature": None}]),
            user("On"),
        ),
        {"messages": [turn("user", text("Go")), turn("assistant", text("So.")), turn("user", text("On"))]},
    ),
    "schema_of_type_null": (
        chat(tools=[{"type": "function", "function": {"name": "g", "parameters": {"type": None, "properties": {}}}}]),
        {"tools": [{"name": "g", "input_schema": {"type": "object", "properties": {}}}]},
    ),
    "base64_in_lines": (
        asked(user([{"type": "image_url", "image_url": {"url": f"data:image/jpg;x=y;base64,{PNG[:4]}\n{PNG[4:]}"}}])),
        {
            "messages": [
                turn(
                    "user",
                    {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": PNG}},
                )
            ]
        },
    ),
    "a_budget_above_the_usual_limit": (
        chat(thinking={"type": "enabled", "budget_tokens": 40000}),
        {"thinking": {"type": "enabled", "budget_tokens": 40000}, "max_tokens": 56000},
    ),
    "tier": (chat(service_tier="default"), {"service_tier": "standard_only"}),
    "stream": (chat(stream=True, stream_options={"include_usage": True}), {"stream": True}),
    "harmless": (
        chat(
            n=1,
            seed=7,
            store=True,
            metadata={"a": "b"},
            logprobs=False,
            logit_bias={},
            frequency_penalty=0,
            presence_penalty=0.0,
            prompt_cache_key="k",
            modalities=["text"],
            verbosity="low",
            top_logprobs=None,
            stop=None,
            tools=None,
            max_tokens=None,
        ),
        {},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_provider_gets(name: str) -> None:
    request, differs = CASES[name]
    usual = {"model": MODEL, "max_tokens": 32000, "messages": [{"role": "user", "content": [text("Hi")]}]}
    written = json.loads(translated(json.dumps(request).encode()).body)
    assert written == {**usual, **differs}
    TypeAdapter(MessageCreateParams).validate_python(written)


def test_arguments_stay_as_they_were_written() -> None:
    """Order and numbers are part of the prefix that the provider has cached."""
    arguments = '{"b": 1.0, "a": 1e3,\n "big": 123456789012345678901234567890}'
    message = {"role": "assistant", "tool_calls": [call(arguments)]}
    schema = '{"type":"object","properties":{"z":{"minimum":1.50},"a":{}}}'
    body = json.dumps(
        asked(user("Go"), message, result(), tools=[{"type": "function", "function": {"name": "f", "parameters": "?"}}])
    )
    written = translated(body.replace('"?"', schema).encode()).body.decode()
    assert f'"input":{arguments}' in written
    assert f'"input_schema":{schema}' in written


def test_a_user_is_not_named_where_that_divides_the_cache() -> None:
    body = json.dumps(chat(user="u-1")).encode()
    assert b"metadata" in translated(body).body
    assert b"metadata" not in translated(body, user_id=False).body


@pytest.mark.parametrize(
    ("options", "asked_for"), [({}, False), ({"include_usage": False}, False), ({"include_usage": True}, True)]
)
def test_whether_usage_was_asked_for(options: dict[str, Any], asked_for: bool) -> None:
    assert translated(json.dumps(chat(stream=True, stream_options=options)).encode()).usage_asked is asked_for
