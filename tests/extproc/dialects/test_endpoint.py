"""What is read of requests that belong to no conversation."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.apis import Asked
from limpet_extproc.dialects.endpoint import StatelessJson
from limpet_extproc.dialects.port import BadRequestError, Refusal

_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["model", "input", "é"]), inner),
    max_leaves=6,
)
parse = StatelessJson().parse


@pytest.mark.parametrize(
    ("body", "model", "place"),
    [
        (b'{"input":"x","model":"m"}', "m", b'"m"'),
        (b' {"model" : "m", "input": {"model": "n"}}', "m", b'"m"'),
        (b'{"mod\\u0065l":"\\u006d"}', "m", b'"\\u006d"'),
        ('{"input":"é 🙂","model":"ü"}'.encode(), "ü", '"ü"'.encode()),
        (b'{"input":"half \\ud83e","model":"m"}', "m", b'"m"'),
    ],
    ids=["last", "nested", "escaped", "not ascii", "half a pair"],
)
def test_the_models_name_is_found_where_it_stands(body: bytes, model: str, place: bytes) -> None:
    request = parse(body)
    assert (request.model, request.model_form) == (model, "json")
    assert body[request.model_span.offset :][: request.model_span.length] == place


@pytest.mark.parametrize("body", [b'{"input":"x"}', b'\n { "input" : "x" }'], ids=["close", "spaced"])
def test_a_body_without_a_model_says_where_one_would_go(body: bytes) -> None:
    request = parse(body, Asked("/embeddings", "deployed"))
    assert (request.model, request.model_form, request.model_span.length) == ("deployed", "missing", 0)
    at = request.model_span.offset
    assert json.loads(body[:at] + b'"model":"m",' + body[at:]) == {"model": "m", "input": "x"}
    assert parse(body).model == ""


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (b"", None, "no body"),
        (b"{}", "model", "'model' is missing"),
        (b"[]", None, "must be a JSON object"),
        (b'{"model":7}', "model", "write a string, not an integer"),
        (b'{"model":""}', "model", "'model' is empty"),
        (b'{"model":"a","model":"a"}', "model", "more than once"),
        (b'{"model":"a","mod\\u0065l":"b"}', "model", "more than once"),
        (b'{"model":"a","MODEL":"b"}', "MODEL", "write 'model' alone"),
        (b'{"model":"m","provider":{},"provider":{}}', "provider", "more than once"),
        (b'{"model":"m","models":["n"]}', "models", "other models"),
        (b'{"model":"m","stream":"yes"}', "stream", "write a boolean or null"),
        (b'{"model":"\xff"}', None, "is not UTF-8"),
        (b'{"model":"m"', None, "not valid JSON"),
    ],
)
def test_an_error_names_the_field(body: bytes, param: str | None, message: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse(body)
    assert caught.value.param == param
    assert message in caught.value.message


def test_other_fields_are_those_of_all_apis() -> None:
    body = b'{"session_id":"s","model":"m","provider":{"only":["a"]},"user":"u","stream":true,"max_tokens":9}'
    request = parse(body)
    assert request.provider_object is not None
    assert request.provider_object.only == ("a",)
    assert [member.name for member in request.ours] == ["provider", "session_id"]
    assert (request.user, request.stream, request.max_output_tokens) == ("u", True, 9)


@pytest.mark.parametrize(
    ("path", "options", "usage_asked"),
    [
        ("/completions", "", False),
        ("/completions", ',"stream_options":null', False),
        ("/completions", ',"stream_options":{"include_usage":true}', True),
        ("/audio/speech", "", True),
    ],
)
def test_only_a_stream_of_completions_can_be_asked_for_usage(path: str, options: str, usage_asked: bool) -> None:
    read = StatelessJson().parse(f'{{"model":"m","stream":true{options}}}'.encode(), Asked(path))
    assert read.usage_asked is usage_asked
    assert (read.stream_options is not None) is (bool(options) and not usage_asked)
    assert StatelessJson().parse(b'{"model":"m"}', Asked(path)).usage_asked


def test_two_requests_open_alike_only_if_they_are_the_same() -> None:
    one, same, other = (parse(b'{"model":"m","input":"%s"}' % text) for text in (b"a", b"a", b"b"))
    assert one.fingerprint == same.fingerprint != other.fingerprint


@given(st.dictionaries(st.sampled_from(["model", "input", "user", "stream", "prompt"]), _VALUES))
def test_any_object_is_read_or_explained(value: dict[str, Any]) -> None:
    body = json.dumps(value).encode()
    with suppress(BadRequestError):
        request = parse(body)
        if request.model_form == "json":
            assert json.loads(body[request.model_span.offset :][: request.model_span.length]) == value["model"]


def test_an_error_has_openais_shape() -> None:
    error = json.loads(
        StatelessJson().error_body(Refusal(404, "refused.unknown_model", "no", "model", "model_not_found"))
    )
    assert error == {
        "error": {"message": "no", "type": "invalid_request_error", "param": "model", "code": "model_not_found"}
    }
