"""Byte spans against a JSON parser: what is spliced by span is what a parser sees changed, and nothing else."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from limpet_extproc.spans import Span, cuts, members, model_span

OURS = frozenset({"provider", "session_id", "allow_fallbacks"})

SPACE = st.sampled_from(["", "", "", " ", "\n\t", "\r\n  "])
TEXT = st.text(max_size=12) | st.sampled_from(
    ["model", '"model":"x"', '\\"model\\":', "\\", '"', "{[", "]},:", "\\u006d", "model\\", "\u2028", "Ω\U0001f41a"]
)
LEAF = (
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=5
)
KEY = TEXT | st.sampled_from(["model", *OURS])


def plain(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def escaped(text: str) -> str:
    """Every character as four hexadecimal digits, in pairs where it needs two."""
    units = text.encode("utf-16-be").hex()
    return '"' + "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)) + '"'


SPELLINGS = st.sampled_from([plain, plain, json.dumps, escaped])


@st.composite
def written_string(draw: st.DrawFn, text: str) -> str:
    """One of the spellings of a string."""
    return draw(SPELLINGS)(text)


@st.composite
def written(draw: st.DrawFn, value: Any) -> str:
    """JSON text of a value, with whitespace anywhere that JSON allows it."""
    pad = draw(SPACE)
    if isinstance(value, str):
        return pad + draw(written_string(value)) + draw(SPACE)
    if isinstance(value, list):
        return pad + "[" + (",".join(draw(written(each)) for each in value) or draw(SPACE)) + "]" + draw(SPACE)
    if isinstance(value, dict):
        inside = ",".join(draw(member(k, v)) for k, v in value.items())
        return pad + "{" + (inside or draw(SPACE)) + "}" + draw(SPACE)
    return pad + json.dumps(value) + draw(SPACE)


@st.composite
def member(draw: st.DrawFn, key: str, value: Any) -> str:
    return f"{draw(SPACE)}{draw(written_string(key))}{draw(SPACE)}:{draw(written(value))}"


@st.composite
def document(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, Any]]]:
    """A JSON object with a string under `model` and any members around it; all but the model may come twice."""
    pairs = draw(st.lists(st.tuples(KEY.filter(lambda key: key != "model"), VALUE), max_size=6))
    pairs.insert(draw(st.integers(0, len(pairs))), ("model", draw(TEXT)))
    texts = [draw(member(key, value)) for key, value in pairs]
    return (draw(SPACE) + "{" + ",".join(texts) + "}" + draw(SPACE)).encode(), pairs


def spliced(body: bytes, edits: list[tuple[Span, bytes]]) -> bytes:
    out, at = b"", 0
    for span, replacement in sorted(edits):
        assert span.offset >= at, "spans overlap"
        out += body[at : span.offset] + replacement
        at = span.offset + span.length
    return out + body[at:]


@settings(max_examples=50)
@given(document())
def test_the_model_is_replaced_and_every_other_byte_stays(case: tuple[bytes, list[tuple[str, Any]]]) -> None:
    body, pairs = case
    span = model_span(body)
    assert span is not None
    assert json.loads(body[span.offset : span.offset + span.length]) == dict(pairs)["model"]
    changed = json.loads(spliced(body, [(span, b'"another"')]))
    assert changed == {**json.loads(body), "model": "another"}


@settings(max_examples=50)
@given(document())
def test_cuts_take_away_our_fields_and_nothing_else(case: tuple[bytes, list[tuple[str, Any]]]) -> None:
    body, _ = case
    span = model_span(body)
    assert span is not None
    left = spliced(body, [*((cut, b"") for cut in cuts(body, OURS)), (span, b'"another"')])
    before = json.loads(body, object_pairs_hook=list)
    kept = [(key, "another" if key == "model" else value) for key, value in before if key not in OURS]
    assert json.loads(left, object_pairs_hook=list) == kept


@settings(max_examples=50)
@given(document())
def test_members_are_those_of_the_top_level_in_their_order(case: tuple[bytes, list[tuple[str, Any]]]) -> None:
    body, pairs = case
    found = members(body)
    assert [json.loads(member.key) for member in found] == [key for key, _ in pairs]
    assert [json.loads(body[member.value : member.end]) for member in found] == [value for _, value in pairs]
    assert all(body[member.start :].startswith(member.key) for member in found)


def test_a_model_that_stands_there_twice_has_no_span() -> None:
    assert model_span(b'{"model":"a","messages":[],"model":"b"}') is None
    assert model_span(b'{"model":"a","mod\\u0065l":"b"}') is None


def test_a_prompt_that_looks_like_the_key_is_left_alone() -> None:
    body = json.dumps({"messages": [{"model": "x", "content": '{"model":"y"}'}], "model": "real"}).encode()
    span = model_span(body)
    assert span is not None
    assert body[span.offset : span.offset + span.length] == b'"real"'


def test_an_object_of_ours_alone_becomes_an_empty_one() -> None:
    body = b' { "session_id" : 1 ,\n"provider": {} } '
    assert json.loads(spliced(body, [(cut, b"") for cut in cuts(body, OURS)])) == {}


def test_a_large_body_full_of_quotes_and_backslashes_is_read_in_one_pass() -> None:
    prompt = '\\"' * 50_000 + "\\" * 20_001 + '"model":"x"' * 1_000
    body = json.dumps({"messages": [prompt], "session_id": prompt, "model": "real"}).encode()
    span = model_span(body)
    assert span is not None
    assert json.loads(spliced(body, [*((cut, b"") for cut in cuts(body, OURS)), (span, b'"b"')])) == {
        "messages": [prompt],
        "model": "b",
    }
