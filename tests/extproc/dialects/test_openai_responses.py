"""What is read of a request for a response, how a bad one is described, and when two open the same conversation."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from limpet_extproc.contract.apis import Asked
from limpet_extproc.dialects.openai_responses import OpenAIResponses, parse_carefully, parse_plain
from limpet_extproc.dialects.port import BadRequestError, ParsedRequest, Pin

parse = OpenAIResponses().parse


def request(input_: Any = "Hello", **fields: Any) -> bytes:
    return json.dumps({"input": input_, "model": "m", **fields}).encode()


def item(text: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": text}


def message(*parts: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"type": "message", "role": role, "content": list(parts)}


def part(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "input_text", "text": text, **more}


HELLO = item("Hello")
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "1"}
IMAGE = {"type": "input_image", "image_url": "http://127.0.0.1/a.png"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (request("Hello"), request([HELLO])),
        (request("Hello"), request([message(part("Hello"))])),
        (request("Hello"), request([message(part("Hello", prompt_cache_breakpoint={"mode": "explicit"}))])),
        (request("Hello"), b'{"model":"m","input":"H\\u0065llo"}'),
        (request("Hello", instructions="Be brief."), request([item("Be brief.", "developer"), HELLO])),
        (request([item("Be brief.", "system"), HELLO]), request([item("Be brief.", "developer"), HELLO])),
        (request([HELLO]), request([HELLO, item("Hi", "assistant"), item("More")])),
        (request([HELLO]), request([HELLO, CALL, RESULT])),
        (request([HELLO]), request([HELLO], instructions=None, stream=True, temperature=1)),
        (request([message(IMAGE)]), request([message({"image_url": IMAGE["image_url"], "type": "input_image"})])),
        (request("half \ud83e"), request([item("half \ud83e")])),
    ],
)
def test_the_same_conversation_in_another_spelling_opens_the_same(one: bytes, other: bytes) -> None:
    assert parse(one).fingerprint == parse(other).fingerprint


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (request("Hello"), request("Hello ")),
        (request("Hello"), request("Hello", instructions="Be brief.")),
        (request("Hello", instructions="a"), request("Hello", instructions="b")),
        (request("Hello"), request([item("Hello", "developer")])),
        (request([message(part("a"), part("b"))]), request([message(part("b"), part("a"))])),
        (request([message(IMAGE)]), request([message(part("Hello"))])),
    ],
)
def test_another_conversation_opens_otherwise(one: bytes, other: bytes) -> None:
    assert parse(one).fingerprint != parse(other).fingerprint


@pytest.mark.parametrize(
    ("fields", "pin"),
    [
        ({}, None),
        ({"previous_response_id": None, "conversation": None}, None),
        ({"previous_response_id": ""}, None),
        ({"previous_response_id": "resp_1"}, Pin("previous_response_id", "resp_1")),
        ({"conversation": "conv_1"}, Pin("conversation", "conv_1")),
        ({"conversation": {"id": "conv_1"}}, Pin("conversation", "conv_1")),
    ],
)
def test_what_a_request_goes_on_from_is_found(fields: dict[str, Any], pin: Pin | None) -> None:
    found = parse(request(**fields))
    assert found.pin == pin
    assert found.has_history == (pin is not None)
    assert parse(request([HELLO], **fields)).pin == pin
    if "input" not in fields:
        body = json.loads(request(**fields))
        del body["input"]
        assert parse(json.dumps(body).encode()).pin == pin


def test_a_conversation_and_a_cache_key_name_it() -> None:
    named = parse(request(conversation="conv_1", prompt_cache_key="k"))
    assert named.session_hints == (("prompt_cache_key", "k"), ("conversation", "conv_1"))
    assert parse(request([HELLO], prompt_cache_key="k")).session_hints == (("prompt_cache_key", "k"),)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"user": "u"}, "u"),
        ({"safety_identifier": "p"}, "p"),
        ({"user": "u", "safety_identifier": "p"}, "u"),
        ({"user": None}, None),
    ],
)
def test_a_person_is_no_conversation(fields: dict[str, Any], expected: str | None) -> None:
    for input_ in ("Hello", [HELLO]):
        found = parse(request(input_, **fields))
        assert (found.user, found.session_hints) == (expected, ())


@pytest.mark.parametrize(("fields", "kept"), [({}, True), ({"store": None}, True), ({"store": False}, False)])
def test_an_answer_is_kept_unless_the_client_says_no(fields: dict[str, Any], kept: bool) -> None:
    assert parse(request(**fields)).kept == parse(request([HELLO], **fields)).kept == kept


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([HELLO], False),
        ([HELLO, item("Hi", "assistant"), item("More")], True),
        ([HELLO, CALL, RESULT], True),
        ([message(part('"type":"function_call_output"'))], False),
    ],
)
def test_earlier_turns_show(items: list[Any], expected: bool) -> None:
    assert parse(request(items)).has_history == expected


def test_a_model_in_the_path_is_enough() -> None:
    found = parse(b'{"input":"x"}', Asked("/responses", "deployed"))
    assert (found.model, found.model_form, found.model_span) == ("deployed", "missing", (1, 0))


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (b"", None, "no body"),
        (b"[]", None, "must be a JSON object"),
        (b'{"input":"x"}', "model", "'model' is missing"),
        (b'{"model":"m","input":5}', "input", "write a string or an array of items"),
        (b'{"model":"m","input":{}}', "input", "write a string or an array of items"),
        (b'{"model":"m","input":[5]}', "input[0]", "write an object, not an integer"),
        (b'{"model":"m","input":[{"role":5}]}', "input[0].role", "write a string, not an integer"),
        (b'{"model":"m","input":"a","input":"b"}', "input", "more than once"),
        (b'{"model":"m","model":"m","input":"a"}', "model", "more than once"),
        (b'{"MODEL":"m","input":"a"}', "MODEL", "write 'model' alone"),
        (request(conversation=5), "conversation", "write a string, not an integer"),
        (request(conversation={}), "conversation", "an object with 'id' alone"),
        (request(conversation={"id": "a", "x": 1}), "conversation", "an object with 'id' alone"),
        (b'{"model":"m","conversation":{"id":"a","id":"b"}}', "conversation", "an object with 'id' alone"),
        (request(conversation="x" * 5000), "conversation", "longer than any name"),
        (request(previous_response_id=[]), "previous_response_id", "write a string, not an array"),
        (request(previous_response_id="r", conversation="c"), "previous_response_id", "exclude each other"),
        (b'{"model":"m","previous_response_id":"a","previous_response_id":"b"}', "previous_response_id", "once"),
        (b'{"model":"m","conversation":"a","convers\\u0061tion":"b"}', "conversation", "more than once"),
        (request(store="no"), "store", "write a boolean or null"),
        (request(max_output_tokens="9"), "max_output_tokens", "write an integer or null"),
    ],
)
def test_an_error_names_the_field_and_what_belongs_there(body: bytes, param: str | None, message: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse(body)
    assert caught.value.param == param
    assert message in caught.value.message


@pytest.mark.parametrize(
    "body",
    [
        b'{"input":[{"role":"user","content":"x"}],"model":"m"}',
        b'{"input":[{"role":"user","content":"x"}],"instructions":"y","model":"m","store":false,"stream":true}',
        b'{"model":"m","instructions":"y","input":[{"type":"message","role":"user","content":[]}],"tools":[]}',
        b'{"input":[{"type":"function_call_output","output":"x"}],"model":"m","previous_response_id":"resp_1"}',
    ],
)
def test_what_sdks_and_agents_send_is_ordinary(body: bytes) -> None:
    assert parse_plain(body) is not None


_TEXTS = st.sampled_from(["", "m", "input", '"model"', "user", "\\", "é", "}", "resp_1"])
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 1 << 60) | _TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TEXTS, inner, max_size=2),
    max_leaves=4,
)
_ITEMS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": _VALUES})
    | st.fixed_dictionaries({"type": _TEXTS}),
    max_size=3,
)
_KEYS = ["input", "instructions", "previous_response_id", "conversation", "store", "user", "safety_identifier"]
_MEMBERS = st.tuples(st.sampled_from([*_KEYS, "max_output_tokens", "stream", "Model", "session_id"]), _VALUES)


@st.composite
def _bodies(draw: st.DrawFn) -> bytes:
    members = [("model", draw(_TEXTS)), ("input", draw(_ITEMS)), *draw(st.lists(_MEMBERS, max_size=3))]
    written = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in draw(st.permutations(members))]
    return ("{" + ", ".join(written) + "}").encode()


@given(_bodies())
@example(b'{"model": "m", "input": [{"role": "user", "content": "x"}], "input": "y"}')
@example(b'{"previous_response_id": "a", "model": "m", "input": [{"role": "user"}], "previous_response_id": "b"}')
@example(b'{"previous_response_id": null, "model": "m", "input": [{"role": "user"}], "previous_response_id": "b"}')
@example(b'{"previous_response_\\u0069d": "a", "model": "m", "input": [{"role": "user"}], "previous_response_id": "b"}')
def test_what_is_ordinary_comes_to_the_same_when_it_is_read_carefully(body: bytes) -> None:
    try:
        ordinary = parse_plain(body)
    except BadRequestError:
        with pytest.raises(BadRequestError):
            parse_carefully(body)
        return
    if ordinary is not None:
        assert ordinary == carefully(body)


def carefully(body: bytes) -> ParsedRequest | None:
    with suppress(BadRequestError):
        return parse_carefully(body)
    return None


@given(st.binary(max_size=40) | _bodies())
def test_no_body_leads_to_anything_but_a_request_or_a_complaint(body: bytes) -> None:
    with suppress(BadRequestError):
        found = parse(body)
        assert json.loads(body[found.model_span.offset :][: found.model_span.length]) == found.model


@pytest.mark.parametrize("ours", [{}, {"session_id": "s"}], ids=["plain", "careful"])
def test_what_it_asks_of_prompt_caches_is_read(ours: dict[str, Any]) -> None:
    assert parse(request([HELLO], prompt_cache_key=None, **ours)).cache is None
    read = parse(request([HELLO], prompt_cache_key="k", prompt_cache_options={"ttl": "12h"}, **ours)).cache
    assert read is not None
    assert (read.has_key, read.retention_ttl_s) == (True, 12 * 3600)
    assert [member.name for member in read.retention] == ["prompt_cache_options"]
