"""What is read of a chat completion request, how a bad one is described, and when two open the same conversation."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.dialects.json_errors import decode_error
from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.dialects.port import BadRequestError

DEEP = b'[{"role":"user","content":' + b"[" * 100_000
FIELDS = st.sampled_from(["model", "messages", "role", "content", "provider", "order", "user"])
parse = OpenAIChat().parse

NESTED = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner)
)


def error_of(body: bytes) -> BadRequestError:
    with pytest.raises(BadRequestError) as caught:
        parse(body)
    assert "`" not in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "no body"),
        (b" ", "not valid JSON"),
        (b"hello", "not valid JSON"),
        (b'{"model": "m", "messages": [', "not valid JSON"),
        (b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}', "byte 51 begins no valid character"),
        (b'{"model":"m","messages":' + DEEP, "nested too deeply"),
        (b"[]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
    ],
)
def test_what_is_no_json_object_is_wrong_as_a_whole(body: bytes, message: str) -> None:
    error = error_of(body)
    assert error.param is None
    assert message in error.message


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (b'{"messages":[]}', "model", "'model' is missing"),
        (b'{"model":"m"}', "messages", "'messages' is missing"),
        (b'{"model":"","messages":[]}', "model", "GET /v1/models"),
        (b'{"model":"m","messages":[]}', "messages", "at least one message"),
        (b'{"model":7,"messages":[]}', "model", "write a string, not an integer"),
        (b'{"model":null,"messages":[]}', "model", "write a string, not null"),
        (b'{"model":"m","messages":{}}', "messages", "write an array, not an object"),
        (b'{"model":"m","messages":["hi"]}', "messages[0]", "write an object, not a string"),
        (b'{"model":"m","messages":[{"content":"hi"}]}', "messages[0].role", "'messages[0].role' is missing"),
        (b'{"model":"m","messages":[{"role":5}]}', "messages[0].role", "write a string, not an integer"),
        (b'{"model":"m","messages":[{"role":"system"},{"role":null}]}', "messages[1].role", "write a string, not null"),
    ],
)
def test_an_error_names_the_field_and_what_belongs_there(body: bytes, param: str, message: str) -> None:
    error = error_of(body)
    assert error.param == param
    assert message in error.message


@pytest.mark.parametrize(
    ("field", "param", "message"),
    [
        ({"max_tokens": "x"}, "max_tokens", "write an integer or null, not"),
        ({"user": {}}, "user", "write a string or null, not"),
        ({"session_id": 1}, "session_id", "write a string or null, not"),
        ({"models": "m"}, "models", "write an array or null, not a string"),
        ({"max_tokens": 10**40}, "max_tokens", "more digits"),
        ({"max_tokens": 1.5}, "max_tokens", "write an integer or null, not"),
        ({"allow_fallbacks": "no"}, "allow_fallbacks", "write a boolean or null, not a string"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(field: dict[str, Any], param: str, message: str) -> None:
    error = error_of(request(USER, **field))
    assert error.param == param
    assert message in error.message


@given(st.binary(max_size=40) | NESTED.map(lambda value: json.dumps(value).encode()))
def test_no_body_leads_to_anything_but_a_request_or_a_complaint(body: bytes) -> None:
    with suppress(BadRequestError):
        parse(body)


def test_an_error_without_a_place_is_about_the_whole_body() -> None:
    error = decode_error(ValueError("no place in it"))
    assert (error.param, error.message) == (None, "the body is not valid JSON: no place in it")


def request(*messages: Any, **fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": messages, **fields}).encode()


SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Hello"}
IMAGE = {"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.png", "detail": "low"}}
IMAGE_REORDERED = {"image_url": {"detail": "low", "url": "http://127.0.0.1/a.png"}, "type": "image_url"}
OTHER_IMAGE = {"type": "image_url", "image_url": {"url": "http://127.0.0.1/b.png", "detail": "low"}}


def text(value: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **fields}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (request(SYSTEM, USER), json.dumps({"messages": [SYSTEM, USER], "model": "m"}, indent=2).encode()),
        (request(USER), request({"content": "Hello", "role": "user"})),
        (request(USER), b'{"model":"m","messages":[{"role":"user","content":"H\\u0065llo"}]}'),
        (request(USER), request(user(text("Hello")))),
        (request(SYSTEM, USER), request({"role": "system", "content": [text("Be brief.")]}, USER)),
        (request(SYSTEM, USER), request({**SYSTEM, "role": "developer"}, USER)),
        (request(USER), request(user(text("Hello", cache_control={"type": "ephemeral"})))),
        (request(user(IMAGE)), request(user({**IMAGE, "cache_control": {"type": "ephemeral"}}))),
        (request(user(IMAGE)), request(user(IMAGE_REORDERED))),
        (request(USER), request(USER, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "More"})),
        (request(SYSTEM, USER), request(SYSTEM, USER, {"role": "system", "content": "later"})),
        (request(USER), request({"role": "assistant", "content": "Welcome"}, USER)),
        (request(USER), request(USER, temperature=1, stream=True)),
        (request({**USER, "name": "a"}), request(USER)),
    ],
)
def test_the_same_conversation_in_another_spelling_opens_the_same(one: bytes, other: bytes) -> None:
    assert parse(one).fingerprint == parse(other).fingerprint


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (request(USER), request({"role": "user", "content": "Hello "})),
        (request(SYSTEM, USER), request(USER)),
        (request(SYSTEM, USER), request({"role": "system", "content": "Be long."}, USER)),
        (request(SYSTEM, USER), request({**SYSTEM, "role": "user"}, USER)),
        (request(SYSTEM, SYSTEM, USER), request(SYSTEM, USER)),
        (request(user(text("a"), text("b"))), request(user(text("ab")))),
        (request(user(text("a"), text("b"))), request(user(text("b"), text("a")))),
        (request(user(IMAGE, text("?"))), request(user(OTHER_IMAGE, text("?")))),
        (request(user(IMAGE, text("?"))), request(user(text("?")))),
        (
            request(user({"type": "file", "file": {"file_id": "1"}})),
            request(user({"type": "file", "file": {"file_id": "2"}})),
        ),
        (request({"role": "user", "content": None}), request({"role": "user", "content": ""})),
    ],
)
def test_another_conversation_opens_otherwise(one: bytes, other: bytes) -> None:
    assert parse(one).fingerprint != parse(other).fingerprint


ROLES = st.sampled_from(["system", "developer", "user", "assistant"])


@given(st.lists(st.tuples(ROLES, st.text(max_size=3)), max_size=5))
def test_what_comes_after_the_first_user_message_does_not_count(later: list[tuple[str, str]]) -> None:
    turns = [{"role": role, "content": each} for role, each in later]
    assert parse(request(*turns, USER)).fingerprint == parse(request(*turns, USER, *turns, SYSTEM)).fingerprint


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": 5, "max_completion_tokens": 3}, 3),
        ({"max_tokens": 0, "max_completion_tokens": -1}, None),
        ({"max_tokens": None}, None),
    ],
)
def test_the_smaller_limit_bounds_the_answer(fields: dict[str, Any], expected: int | None) -> None:
    assert parse(request(USER, **fields)).max_output_tokens == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, False),
        ({"user": "u", "prompt_cache_key": "k"}, False),
        ({"session_id": "s"}, True),
        ({"session_id": None}, True),
        ({"provider": {}}, True),
        ({"provider": None}, True),
        ({"allow_fallbacks": True}, True),
    ],
)
def test_fields_that_are_meant_for_us_are_noticed_even_when_they_are_null(
    fields: dict[str, Any], expected: bool
) -> None:
    assert bool(parse(request(USER, **fields)).ours) is expected


USER, SYSTEM = {"role": "user", "content": "hi"}, {"role": "system", "content": "be brief"}
ANSWER = {"content": "hello", "refusal": None, "role": "assistant"}
CALLS = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {}}]}
RESULT = {"role": "tool", "tool_call_id": "1", "content": "42"}


@pytest.mark.parametrize(
    ("messages", "has_history"),
    [
        ([USER], False),
        ([SYSTEM, USER], False),
        ([SYSTEM, SYSTEM, USER], False),
        ([USER, USER], False),
        ([SYSTEM, {"role": "user", "content": 'say "assistant" and "tool"'}, USER], False),
        ([USER, ANSWER, USER], True),
        ([SYSTEM, ANSWER, USER], True),
        ([SYSTEM, USER, CALLS, RESULT], True),
        ([SYSTEM, USER, CALLS, RESULT, RESULT], True),
        ([SYSTEM, *[USER, ANSWER] * 40, USER], True),
        ([SYSTEM, USER, {**ANSWER, "content": "long " * 5000}, USER], True),
        ([SYSTEM, USER, {"role": "assistant", "content": "long " * 5000}, USER], True),
        ([{"role": "system", "content": "long " * 5000}, USER], False),
    ],
)
def test_a_request_that_answers_something_is_not_the_first_of_its_conversation(
    messages: list[Any], has_history: bool
) -> None:
    assert parse(json.dumps({"model": "m", "messages": messages}).encode()).has_history is has_history


BIG = "The tide comes twice a day. " * 50_000


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (request({"role": "user", "content": BIG}), request({"role": "user", "content": BIG}, temperature=1), True),
        (request({"role": "user", "content": BIG}), request({"role": "user", "content": BIG + "!"}), False),
        (request(user(text("?"), text(BIG))), request(user(text("?"), text(BIG, cache_control={"type": "x"}))), True),
        (request(user(text("?"), text(BIG))), request(user(text("?"), text(BIG + "!"))), False),
        (request(user(*[text("a")] * 200)), request(user(*[text("a")] * 200)), True),
        (request(user(*[text("a")] * 200)), request(user(*[text("a")] * 201)), False),
        (request(user(*[text("a")] * 128)), request(user(*[text("a")] * 127)), False),
        (request(*[SYSTEM] * 31, USER), request(*[SYSTEM] * 31, USER, USER), True),
        (request(*[SYSTEM] * 40, USER), request(*[SYSTEM] * 40, {"role": "user", "content": "x"}), True),
    ],
)
def test_what_goes_beyond_the_bounds_counts_as_it_is_written(one: bytes, other: bytes, same: bool) -> None:
    assert (parse(one).fingerprint == parse(other).fingerprint) is same


@pytest.mark.parametrize(
    ("fields", "usage_asked"),
    [
        ({}, True),
        ({"stream": False}, True),
        ({"stream": True}, False),
        ({"stream": True, "stream_options": None}, False),
        ({"stream": True, "stream_options": {}}, False),
        ({"stream": True, "stream_options": {"include_usage": False}}, False),
        ({"stream": True, "stream_options": {"include_usage": None}}, False),
        ({"stream": True, "stream_options": {"include_obfuscation": False}}, False),
        ({"stream": True, "stream_options": {"include_usage": True}}, True),
        ({"stream": True, "stream_options": {"include_usage": "yes"}}, True),
        ({"stream": True, "stream_options": 5}, True),
        ({"stream_options": {"include_usage": False}}, True),
    ],
)
@pytest.mark.parametrize("ours", [{}, {"session_id": "s"}], ids=["plain", "careful"])
def test_a_stream_carries_usage_where_it_is_asked_for(
    fields: dict[str, Any], usage_asked: bool, ours: dict[str, Any]
) -> None:
    body = request(USER, **fields, **ours)
    read = parse(body)
    assert read.usage_asked is usage_asked
    assert (read.stream_options is not None) == ("stream_options" in fields and not read.usage_asked)
    if read.stream_options:
        offset, length = read.stream_options
        assert json.loads(body[offset : offset + length]) == fields["stream_options"]
