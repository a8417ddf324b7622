"""Byte spans against a JSON parser: what is spliced by span is what a parser sees changed, and nothing else."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from limpet_extproc.dialects.spans import Member, Span, cuts, member_at, span_of

OURS = ("provider", "session_id", "allow_fallbacks")
FOUND = ("model", *OURS)

SPACE = st.sampled_from(["", "", "", " ", "\n\t", "\r\n  ", " " * 200])
TEXT = st.text(max_size=12) | st.sampled_from(
    ["model", '"model":"x"', '\\"model\\":', "\\", '"', "{[", "]},:", "\\u006d", "model\\", "\u2028", "Ω\U0001f41a"]
)
LEAF = (
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
)
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=5
)
KEY = TEXT | st.sampled_from(OURS)

_RAWS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def plain(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def escaped(text: str) -> str:
    """Every character as four hexadecimal digits, in pairs where it needs two."""
    units = text.encode("utf-16-be").hex()
    return '"' + "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)) + '"'


SPELLINGS: st.SearchStrategy[Callable[[str], str]] = st.sampled_from([plain, plain, json.dumps, escaped])


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
    """A JSON object with a string under `model` and any members around it, each key once."""
    pairs = draw(
        st.lists(st.tuples(KEY.filter(lambda key: key != "model"), VALUE), max_size=6, unique_by=lambda pair: pair[0])
    )
    pairs.insert(draw(st.integers(0, len(pairs))), ("model", draw(TEXT)))
    texts = [draw(member(key, value)) for key, value in pairs]
    return (draw(SPACE) + "{" + ",".join(texts) + "}" + draw(SPACE)).encode(), pairs


def found(body: bytes | bytearray) -> dict[str, Member]:
    """Those of the members that are looked for."""
    view = memoryview(body)
    raws = _RAWS.decode(body)
    return {name: member_at(view, name, span_of(view, raws[name])) for name in FOUND if name in raws}


def spliced(body: bytes, edits: Iterable[tuple[Span, bytes]]) -> bytes:
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
    model = found(body)["model"]
    assert json.loads(body[model.value : model.end]) == dict(pairs)["model"]
    changed = json.loads(spliced(body, [(Span(model.value, model.end - model.value), b'"another"')]))
    assert changed == {**json.loads(body), "model": "another"}


@settings(max_examples=100)
@given(document(), st.sets(st.sampled_from(FOUND)))
def test_cuts_take_away_what_they_are_to_and_nothing_else(
    case: tuple[bytes, list[tuple[str, Any]]], gone: set[str]
) -> None:
    body, _ = case
    spans = cuts(member for name, member in found(body).items() if name in gone)
    left = spliced(body, [(cut, b"") for cut in spans])
    kept = [(key, value) for key, value in json.loads(body, object_pairs_hook=list) if key not in gone]
    assert json.loads(left, object_pairs_hook=list) == kept


@settings(max_examples=50)
@given(document())
def test_a_member_is_its_key_and_its_value(case: tuple[bytes, list[tuple[str, Any]]]) -> None:
    body, pairs = case
    for name, each in found(body).items():
        assert json.loads(b"{" + body[each.start : each.end] + b"}") == {name: dict(pairs)[name]}


def test_a_value_is_found_where_it_was_read_and_not_where_its_text_stands_too() -> None:
    body = json.dumps({"messages": [{"model": "x", "content": '{"model":"x"}'}], "model": "x"}).encode()
    model = found(body)["model"]
    assert model.start == body.rindex(b'"model"')


def test_an_object_of_ours_alone_becomes_an_empty_one() -> None:
    body = b' { "session_id" : 1 ,\n"provider": {} } '
    assert json.loads(spliced(body, [(cut, b"") for cut in cuts(found(body).values())])) == {}


def test_bytes_that_may_change_are_read_as_well() -> None:
    body = bytearray(b'{"model":"m"}')
    assert found(body)["model"] == Member("model", 1, 9, 12, -1, -1)


def test_white_space_without_end_is_passed_over() -> None:
    pad = b" \n" * 1_000_000
    body = pad.join((b"{", b'"session_id"', b":", b'"s"', b",", b'"model"', b":", b'"m"', b"}"))
    assert json.loads(spliced(body, [(cut, b"") for cut in cuts([found(body)["session_id"]])])) == {"model": "m"}
