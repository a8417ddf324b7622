"""What a request says about prompt caches: which breakpoints it has, how long they last, and where all that stands."""

import json
from typing import Any

import pytest

from limpet_extproc.contract.apis import NOWHERE
from limpet_extproc.dialects.anthropic_messages import AnthropicMessages
from limpet_extproc.dialects.cache_directives import MAX_MARKS, MAX_OBJECTS
from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.dialects.port import CacheDirectives, Dialect

CHAT, MESSAGES = OpenAIChat(), AnthropicMessages()
USER = {"role": "user", "content": "hi"}
SHORT, HOUR = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}

both = pytest.mark.parametrize("dialect", [CHAT, MESSAGES], ids=lambda dialect: dialect.name)


def request(*messages: Any, **fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": messages, **fields}).encode()


def marked(mark: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": "a", "cache_control": mark, **fields}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def cache_of(dialect: Dialect, body: bytes) -> CacheDirectives | None:
    return dialect.parse(body, NOWHERE).cache


def asked(dialect: Dialect, body: bytes) -> CacheDirectives:
    cache = cache_of(dialect, body)
    assert cache is not None
    return cache


def values(body: bytes, cache: CacheDirectives) -> list[Any]:
    """What the members are that it names, top level first."""
    members = (cache.top_level, *cache.marks, *cache.retention)
    written = [json.loads(b"{" + body[each.start : each.end] + b"}") for each in members if each]
    assert [list(each) for each in written] == [[each.name] for each in members if each]
    return [value for each in written for value in each.values()]


@both
@pytest.mark.parametrize(
    "body",
    [
        request(USER),
        request({"role": "user", "content": '"cache_control": {"type": "ephemeral"}'}),
        request(user({"type": "text", "text": '"cache_control"'})),
        request(user({"type": "tool_use", "input": {"cache_control": SHORT}})),
        request(user({"type": "tool_result", "content": [{"type": "x", "content": [marked(SHORT)]}]})),
        request(USER, metadata={"cache_control": "x"}),
        request(USER, tools=[{"name": "f", "input_schema": {"properties": {"cache_control": {"type": "object"}}}}]),
        request(USER, stop=["cache_control"]),
    ],
)
def test_words_that_only_look_like_a_breakpoint_say_nothing(dialect: Dialect, body: bytes) -> None:
    assert cache_of(dialect, body) is None


@both
@pytest.mark.parametrize("ours", [{}, {"session_id": "s"}], ids=["plain", "careful"])
def test_breakpoints_are_found_with_all_that_says_how_long_they_last(dialect: Dialect, ours: dict[str, Any]) -> None:
    messages = [user(marked(HOUR), {"type": "text", "text": "x"}), USER, user(marked(SHORT, text="\ud83e"))]
    body = request(*messages, tools=[{"name": "f", "cache_control": HOUR}], cache_control=SHORT, **ours)
    cache = asked(dialect, body)
    assert values(body, cache) == [SHORT, HOUR, SHORT, HOUR]
    assert (cache.marks_ttl_s, cache.retention_ttl_s) == (300, None)


def test_blocks_of_a_tools_result_have_breakpoints_in_messages() -> None:
    result = {"type": "tool_result", "cache_control": HOUR, "content": [marked(SHORT), {"type": "x"}, marked(HOUR)]}
    odd = [
        {"type": "x", "content": content} for content in (5, {"cache_control": SHORT}, "x", [5, marked(SHORT)], None)
    ]
    body = request(user(result, *odd, marked(SHORT)))
    assert values(body, asked(MESSAGES, body)) == [HOUR, SHORT, HOUR, SHORT]
    assert values(body, asked(CHAT, body)) == [HOUR, SHORT]


def test_a_system_prompt_of_blocks_has_breakpoints_in_messages_and_a_message_has_one_in_chat() -> None:
    body = request(user(marked(SHORT)), system=[marked(HOUR), {"type": "text", "text": "b"}])
    assert values(body, asked(MESSAGES, body)) == [SHORT, HOUR]
    assert values(body, asked(CHAT, body)) == [SHORT]
    body = request({**USER, "cache_control": HOUR})
    assert values(body, asked(CHAT, body)) == [HOUR]
    assert cache_of(MESSAGES, body) is None


@both
@pytest.mark.parametrize(
    ("marks", "ttl_s"),
    [
        ([SHORT], 300),
        ([HOUR], 3600),
        ([{**SHORT, "ttl": "5m"}], 300),
        ([{**SHORT, "ttl": None}], 300),
        ([HOUR, SHORT], 300),
        ([HOUR, HOUR], 3600),
        ([{**SHORT, "ttl": "2h"}], None),
        ([{**SHORT, "ttl": 5}, HOUR], None),
        ([{"type": "x"}], None),
        ([{}], None),
        ([None, HOUR], 3600),
        ([None], None),
    ],
)
def test_the_shortest_breakpoint_counts(dialect: Dialect, marks: list[Any], ttl_s: float | None) -> None:
    body = request(user(*map(marked, marks)))
    cache = asked(dialect, body)
    assert values(body, cache) == marks
    assert cache.marks_ttl_s == ttl_s
    *others, top = marks
    body = request(user(*map(marked, others)), cache_control=top)
    cache = asked(dialect, body)
    assert (values(body, cache), cache.marks_ttl_s) == ([top, *others], ttl_s)


@both
@pytest.mark.parametrize("wrong", [5, "ephemeral", [SHORT], True, 1e99])
def test_what_is_no_object_is_left_to_the_provider(dialect: Dialect, wrong: Any) -> None:
    assert cache_of(dialect, request(user(marked(wrong)), cache_control=wrong)) is None
    body = request(user(marked(wrong), marked(SHORT)))
    assert values(body, asked(dialect, body)) == [SHORT]


@both
@pytest.mark.parametrize(
    "odd",
    [
        {"messages": [{"role": "user", "content": "x"}, 5, user(marked(SHORT))]},
        {"messages": [USER, {"role": "user", "content": ["x", marked(SHORT)]}]},
        {"tools": {"cache_control": SHORT}},
        {"tools": [5], "messages": [user(marked(SHORT))]},
    ],
)
def test_a_prompt_of_a_wrong_shape_is_no_error_here(dialect: Dialect, odd: dict[str, Any]) -> None:
    assert cache_of(dialect, json.dumps({"model": "m", "messages": [USER], **odd}).encode()) is None


@both
def test_more_than_anyone_could_mean_is_not_looked_at(dialect: Dialect) -> None:
    many = [marked(SHORT)] * MAX_MARKS
    assert len(asked(dialect, request(user(*many))).marks) == MAX_MARKS
    assert cache_of(dialect, request(user(*many, marked(SHORT)))) is None
    assert cache_of(dialect, request(user(marked(SHORT)), x=[{}] * MAX_OBJECTS)) is None


@pytest.mark.parametrize(
    ("fields", "ttl_s"),
    [
        ({"prompt_cache_retention": "24h"}, 86400),
        ({"prompt_cache_retention": "in_memory"}, 300),
        ({"prompt_cache_retention": "in-memory"}, 300),
        ({"prompt_cache_options": {"ttl": "30m"}}, 1800),
        ({"prompt_cache_options": {"mode": "explicit", "ttl": "12h"}}, 43200),
        ({"prompt_cache_options": {"ttl": "5m"}}, 300),
        ({"prompt_cache_options": {"ttl": "1h"}, "prompt_cache_retention": "24h"}, 3600),
        ({"prompt_cache_options": {"mode": "explicit"}}, None),
        ({"prompt_cache_options": None, "prompt_cache_retention": None}, None),
        ({"prompt_cache_retention": None, "prompt_cache_options": {"ttl": "30m"}}, 1800),
        ({"prompt_cache_options": {"ttl": "0m"}}, None),
        ({"prompt_cache_options": {"ttl": 30}}, None),
        ({"prompt_cache_options": [], "prompt_cache_retention": "24h"}, None),
        ({"prompt_cache_retention": 24}, None),
        ({"prompt_cache_retention": "forever and a day"}, None),
        ({"prompt_cache_retention": "99999999999999999999h"}, None),
    ],
)
@pytest.mark.parametrize("ours", [{}, {"session_id": "s"}], ids=["plain", "careful"])
def test_chat_says_how_long_an_entry_is_kept(fields: dict[str, Any], ttl_s: float | None, ours: dict[str, Any]) -> None:
    body = request(USER, **fields, **ours)
    cache = asked(CHAT, body)
    assert (cache.marks_ttl_s, cache.retention_ttl_s) == (None, ttl_s)
    assert {each.name for each in cache.retention} == fields.keys()
    assert sorted(values(body, cache), key=str) == sorted(fields.values(), key=str)
    assert cache_of(MESSAGES, body) is None


@pytest.mark.parametrize("ours", [{}, {"session_id": "s"}], ids=["plain", "careful"])
def test_a_key_of_the_cache_counts_if_it_says_something(ours: dict[str, Any]) -> None:
    assert asked(CHAT, request(USER, prompt_cache_key="k", **ours)) == CacheDirectives(has_key=True)
    assert cache_of(CHAT, request(USER, prompt_cache_key=None, **ours)) is None
    assert cache_of(CHAT, request(USER, **ours)) is None


@both
@pytest.mark.parametrize("underscores", range(7))
@pytest.mark.parametrize("size", [10, 10_000], ids=["short", "long"])
def test_a_breakpoint_is_found_after_whatever_else_has_an_underscore(
    dialect: Dialect, underscores: int, size: int
) -> None:
    text = {"type": "text", "text": "a_" * underscores + "x" * size}
    body = request(user(text, marked(HOUR)))
    assert values(body, asked(dialect, body)) == [HOUR]
    assert cache_of(dialect, request(user(text))) is None
