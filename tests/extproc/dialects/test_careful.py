"""What holds for the bodies of every API: a key that is read stands there once, and what is torn is read past."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.apis import NOWHERE, Asked
from limpet_extproc.dialects.anthropic_messages import AnthropicMessages
from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.dialects.openai_responses import OpenAIResponses
from limpet_extproc.dialects.port import BadRequestError, Dialect, ParsedRequest

DIALECTS: list[Dialect] = [OpenAIChat(), AnthropicMessages()]
Parse = Callable[[bytes], ParsedRequest]
USER = {"role": "user", "content": "hi"}
HALF = "\ud83e"

every_dialect = pytest.mark.parametrize("parse", [each.parse for each in DIALECTS], ids=[d.name for d in DIALECTS])


def request(*messages: Any, **fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": messages, **fields}).encode()


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def error_of(parse: Parse, body: bytes) -> BadRequestError:
    with pytest.raises(BadRequestError) as caught:
        parse(body)
    return caught.value


SPELLED = {"model": '"mod\\u0065l"', "messages": '"m\\u0065ssages"', "provider": '"pro\\u0076ider"'}


@every_dialect
@pytest.mark.parametrize("field", ["model", "messages", "provider", "session_id", "allow_fallbacks", "models"])
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("spelled", [False, True], ids=["plain", "escaped"])
def test_a_key_that_is_read_here_stands_there_once(parse: Parse, field: str, first: bool, spelled: bool) -> None:
    value = {"model": '"m"', "messages": json.dumps([USER]), "models": '["m"]'}.get(field, "null")
    twice = (SPELLED.get(field, f'"{field}"') if spelled else f'"{field}"') + f":{value}"
    whole = {"model": '"model":"m"', "messages": f'"messages":{json.dumps([USER])}', field: f'"{field}":{value}'}
    parse(("{" + ",".join(whole.values()) + "}").encode())
    pieces = [twice, *whole.values()] if first else [*whole.values(), twice]
    error = error_of(parse, ("{" + ",".join(pieces) + "}").encode())
    assert (error.param, error.message) == (field, f"the body has the key '{field}' more than once")


@every_dialect
@pytest.mark.parametrize(
    "value", [b'"x"', b'""', b"null", b"0", b"1", b"1.0", b"1e400", b"9" * 40, b"true", b"{}", b"[1]", b'"\\ud83e"']
)
@pytest.mark.parametrize("key", [b"model", b"Model", b"session_id", b"provider"])
def test_a_key_that_may_not_be_there_is_found_whatever_its_value(parse: Parse, key: bytes, value: bytes) -> None:
    body = b'{"%s":%s,"model":"m","session_id":"s","provider":{},"messages":[{"role":"user","content":"x"}]}'
    with pytest.raises(BadRequestError) as refused:
        parse(body % (key, value))
    assert refused.value.param == key.decode()


@every_dialect
@pytest.mark.parametrize("key", ["Model", "MODEL", "mOdel", "\\u004dodel", "mode\\u004C"])
@pytest.mark.parametrize("order", ["before", "after"])
def test_no_other_spelling_of_model_passes(parse: Parse, key: str, order: str) -> None:
    other, rest = f'"{key}":"x"', request(USER).decode()[1:-1]
    body = "{" + (f"{other},{rest}" if order == "before" else f"{rest},{other}") + "}"
    error = error_of(parse, body.encode())
    assert error.param == json.loads(f'"{key}"')
    assert "some providers take it for 'model'" in error.message


@every_dialect
def test_keys_that_only_look_like_ours_are_ignored(parse: Parse) -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"model": {}, "Model": {}}}}}
    content = {"role": "user", "content": '"model":"x","provider":{}'}
    body = request(
        content, USER, tools=[tool, tool], metadata={"session_id": "x", "messages": []}, Messages=1, session="x"
    )
    assert parse(body).ours == ()


@every_dialect
@pytest.mark.parametrize(
    "body",
    [
        request({"role": "user", "content": f"torn {HALF}"}),
        request({"role": "system", "content": HALF}, USER),
        request(user(text(HALF))),
        request(user({"type": "file", HALF: HALF})),
        request(USER, {"role": "tool", "content": HALF}),
        request(USER, metadata={HALF: "\udd80"}),
        request(USER, stop=[HALF], **{HALF: 1}),
        request(USER, session_id=HALF, user=HALF, prompt_cache_key=HALF),
        request(USER, provider={"order": [HALF]}),
        request(USER, x=HALF).replace(b"ud83e", b"uD83E"),
    ],
)
def test_half_a_surrogate_pair_is_read_past_wherever_it_stands(parse: Parse, body: bytes) -> None:
    read = parse(body)
    assert read.model == "m"
    assert body[read.model_span.offset :][: read.model_span.length] == b'"m"'
    for member in read.ours:
        assert body[member.start :].startswith(f'"{member.name}"'.encode())
    assert parse(body) == read


@every_dialect
def test_what_is_torn_later_does_not_change_how_a_conversation_opened(parse: Parse) -> None:
    opened = request({"role": "user", "content": "\U0001f980 hi"})
    torn = request({"role": "user", "content": "\U0001f980 hi"}, {"role": "tool", "content": HALF})
    assert parse(opened).fingerprint == parse(torn).fingerprint
    assert parse(request(user(text(HALF)))).fingerprint != parse(request(user(text("\ud83d")))).fingerprint


@every_dialect
def test_half_a_surrogate_pair_names_no_model(parse: Parse) -> None:
    error = error_of(parse, json.dumps({"model": HALF, "messages": [USER]}).encode())
    assert error.param == "model"
    assert "half of a surrogate pair" in error.message


@every_dialect
@pytest.mark.parametrize("body", [b'{"model":"m","messages":[{"role":"user","content":"\\ud8', b'{"model":"\\ud83e"'])
def test_half_of_a_body_is_still_not_json(parse: Parse, body: bytes) -> None:
    assert "not valid JSON" in error_of(parse, body).message


FIELDS = st.sampled_from(["model", "messages", "role", "content", "provider", "order", "user", "system", "metadata"])
NESTED = st.recursive(
    st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(FIELDS, inner)
)


@every_dialect
@given(fields=st.lists(st.tuples(FIELDS, NESTED), max_size=4, unique_by=lambda pair: pair[0]))
def test_what_is_accepted_is_what_a_parser_reads(parse: Parse, fields: list[tuple[str, Any]]) -> None:
    body = json.dumps({**dict(fields), "model": "m", "messages": [USER]}, indent=1).encode()
    with suppress(BadRequestError):
        read = parse(body)
        assert json.loads(body[read.model_span.offset :][: read.model_span.length]) == "m"
        assert {member.name for member in read.ours} <= json.loads(body).keys()


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_model_that_the_path_names_need_not_be_in_the_body(dialect: Dialect) -> None:
    asked = Asked("/chat/completions", "m")
    named, unnamed = request(USER), json.dumps({"messages": [USER], "session_id": "s"}).encode()
    assert dialect.parse(named, asked) == dialect.parse(named, Asked(""))
    read = dialect.parse(b"  " + unnamed, asked)
    assert (read.model, read.model_span, read.session_id) == ("m", (3, 0), "s")
    other = dialect.parse(named, Asked("/chat/completions", "other"))
    assert (other.model, other.model_differs, other.model_span.length) == ("other", True, 3)
    with pytest.raises(BadRequestError, match="'messages' more than once"):
        dialect.parse(unnamed[:-1] + b',"messages":[{"role":"user","content":""}]}', asked)


@pytest.mark.parametrize("dialect", [*DIALECTS, OpenAIResponses()], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    ("fields", "tier"),
    [
        ({}, ""),
        ({"service_tier": None}, ""),
        ({"service_tier": "flex"}, "flex"),
        ({"service_tier": "flex", "session_id": "s"}, "flex"),  # read carefully
        ({"service_tier": 5}, ""),  # the provider's to complain of
        ({"service_tier": {"name": "flex"}}, ""),
    ],
)
def test_a_request_may_name_a_service_tier(dialect: Dialect, fields: dict[str, Any], tier: str) -> None:
    body = json.dumps({"model": "m", "messages": [USER], "input": [USER], **fields}).encode()
    assert dialect.parse(body, NOWHERE).service_tier == tier
