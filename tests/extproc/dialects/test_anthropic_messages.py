"""What is read of a request for Anthropic's Messages, and when two open the same conversation."""

import json
from typing import Any

import pytest

from limpet_extproc.dialects.anthropic_messages import AnthropicMessages
from limpet_extproc.dialects.port import BadRequestError, Refusal

parse = AnthropicMessages().parse
error_body = AnthropicMessages().error_body

SYSTEM, USER = "Be brief.", {"role": "user", "content": "Hello"}
ANSWER = {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}
MARK = {"cache_control": {"type": "ephemeral"}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
TOOL_USE = {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {"role": "user"}}]}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "42"}]}


def request(*messages: Any, **fields: Any) -> bytes:
    """In the order of Anthropic's SDK for Python."""
    return json.dumps({"max_tokens": 16, "messages": messages, "model": "m", **fields}).encode()


def text(value: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": value, **fields}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (request(USER, system=SYSTEM), json.dumps({"system": SYSTEM, "messages": [USER], "model": "m"}).encode()),
        (request(USER, system=SYSTEM), request(USER, system=[text(SYSTEM)])),
        (request(USER, system=SYSTEM), request(USER, system=[text(SYSTEM, **MARK)])),
        (request(USER, system=SYSTEM), request(USER, system=SYSTEM).replace(b"Be brief", b"B\\u0065 brief")),
        (request(USER, system=[text("a"), text("b", **MARK)]), request(USER, system=[text("a", **MARK), text("b")])),
        (request(USER), request(user(text("Hello")))),
        (request(USER), request(user(text("Hello", **MARK)))),
        (request(USER), request(USER, system=None)),
        (request(user(IMAGE)), request(user({**IMAGE, **MARK}))),
        (request(USER), request(USER, ANSWER, user(text("More")))),
        (request(USER, system=SYSTEM), request(USER, system=SYSTEM, tools=[{"name": "f", "input_schema": {}}])),
        (request(USER), request(USER, cache_control={"type": "ephemeral"}, stream=True, thinking={"type": "x"})),
    ],
)
def test_the_same_conversation_in_another_spelling_opens_the_same(one: bytes, other: bytes) -> None:
    assert parse(one).fingerprint == parse(other).fingerprint


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (request(USER, system=SYSTEM), request(USER)),
        (request(USER, system=SYSTEM), request(USER, system="Be long.")),
        (request(USER, system=[text("a"), text("b")]), request(USER, system=[text("ab")])),
        (request(USER), request(user(text("Hello")), user(text("More"))).replace(b"Hello", b"Hallo")),
        (request(user(text("reminder"), text("one"))), request(user(text("reminder"), text("two")))),
        (request(user(IMAGE, text("?"))), request(user(text("?")))),
        (request(USER, system="x" * (2 << 20)), request(USER, system="x" * (2 << 20) + "y")),
    ],
)
def test_another_conversation_opens_otherwise(one: bytes, other: bytes) -> None:
    assert parse(one).fingerprint != parse(other).fingerprint


SESSION = "7581b58b-1234-4d3c-9c52-3e8a0a6d5c11"
CLAUDE_CODE = json.dumps({"device_id": "d" * 64, "account_uuid": "", "session_id": SESSION})


@pytest.mark.parametrize(
    ("user_id", "person", "session"),
    [
        (CLAUDE_CODE, None, SESSION),
        (json.dumps({"device_id": "d" * 300, "session_id": SESSION}), None, SESSION),
        (f"user_{'0' * 64}_account__session_{SESSION}", None, SESSION),
        (f"user_{'0' * 64}_account_{SESSION.replace('-', '')}_session_{SESSION}", None, SESSION),
        ("alice", "alice", None),
        ("user_1", "user_1", None),
        ("my_session_1", "my_session_1", None),
        ('{"session_id": 5}', '{"session_id": 5}', None),
        ('{"session_id": ""}', '{"session_id": ""}', None),
        ('{"tenant": "a"}', '{"tenant": "a"}', None),
        ("{torn", "{torn", None),
        ("{" * 4000, "{" * 4000, None),
        ("", None, None),
        (None, None, None),
    ],
)
def test_a_session_names_the_conversation_and_anything_else_a_person(
    user_id: str | None, person: str | None, session: str | None
) -> None:
    read = parse(request(USER, metadata={"user_id": user_id}))
    assert read.user == person
    assert read.session_hints == ((("metadata.user_id", session),) if session else ())


def test_a_person_is_told_by_a_name_of_any_length() -> None:
    one, other = (parse(request(USER, metadata={"user_id": "u" * 5000 + end})) for end in "ab")
    assert one.user
    assert one.user != other.user


@pytest.mark.parametrize("metadata", [None, {}, {"x": 1}])
def test_nobody_is_named_without_it(metadata: Any) -> None:
    read = parse(request(USER, metadata=metadata))
    assert (read.user, read.session_hints) == (None, ())


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (b"", None, "no body"),
        (b'{"messages":[]}', "model", "'model' is missing"),
        (b'{"model":"m"}', "messages", "'messages' is missing"),
        (request(), "messages", "at least one message"),
        (request(USER, metadata=5), "metadata", "write an object or null, not an integer"),
        (request(USER, metadata={"user_id": 5}), "metadata.user_id", "write a string or null, not an integer"),
        (request(USER, max_tokens="5"), "max_tokens", "write an integer or null, not a string"),
        (request({"content": "hi"}), "messages[0].role", "'messages[0].role' is missing"),
    ],
)
def test_an_error_names_the_field_and_what_belongs_there(body: bytes, param: str | None, message: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse(body)
    assert caught.value.param == param
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (415, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_an_error_has_anthropics_shape_and_the_type_of_its_status(status: int, kind: str) -> None:
    body = json.loads(error_body(Refusal(status, "refused.bad_request", "No.", "model", "code")))
    assert body == {"type": "error", "error": {"type": kind, "message": "No."}}


def test_an_error_names_a_place_in_a_list_as_anthropic_does() -> None:
    with pytest.raises(BadRequestError) as caught:
        parse(request(USER, USER).replace(b'"user"', b"5"))
    error = caught.value
    refusal = Refusal(400, "refused.bad_request", error.message, error.param)
    message = json.loads(error_body(refusal))["error"]["message"]
    assert message == "'messages.0.role' has the wrong type: write a string, not an integer"


@pytest.mark.parametrize(
    ("messages", "has_history"),
    [
        ([USER], False),
        ([USER, {"role": "assistant", "content": "{"}], False),
        ([USER, ANSWER, USER], True),
        ([USER, ANSWER, USER, {"role": "assistant", "content": "{"}], True),
        ([USER, TOOL_USE, RESULT], True),
        ([USER, TOOL_USE, RESULT, user(text("and"))], True),
    ],
)
def test_a_request_with_an_answer_is_not_the_first_of_its_conversation(messages: list[Any], has_history: bool) -> None:
    assert parse(request(*messages)).has_history is has_history


def test_limits_streams_and_limpets_own_fields_are_read_as_in_chat() -> None:
    read = parse(request(USER, stream=True, session_id="s", provider={"only": ["a"]}, allow_fallbacks=False))
    assert (read.max_output_tokens, read.stream, read.session_id, read.allow_fallbacks) == (16, True, "s", False)
    assert read.provider_object is not None
    assert read.provider_object.only == ("a",)
    assert {member.name for member in read.ours} == {"session_id", "provider", "allow_fallbacks"}
    assert parse(request(USER, max_tokens=0)).max_output_tokens is None
