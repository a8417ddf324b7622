"""YAML as kubectl reads it."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_operator.sources.yaml_text import UnreadableError, read_json, read_yaml, split


@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        ("", []),
        ("# only a comment\n---\n  # and another\n", []),
        ("a: 1\n", [("a: 1\n", 0)]),
        ("a: 1\n---\nb: 2\n", [("a: 1\n", 0), ("---\nb: 2\n", 1)]),
        ("---\n\n---\na: |\n  ---\n  b\n", [("---\na: |\n  ---\n  b\n", 2)]),
        ("--- {a: 1}\n---", [("--- {a: 1}\n", 0)]),
        ("---a: 1\n", [("---a: 1\n", 0)]),
        ("\ufeffa: 1\r\n---\r\nb: 2\r\n", [("a: 1\r\n", 0), ("---\r\nb: 2\r\n", 1)]),
    ],
)
def test_split(text: str, chunks: list[tuple[str, int]]) -> None:
    assert [tuple(chunk) for chunk in split(text)] == chunks


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18:00", "18:00"),
        ("2026-11-20", "2026-11-20"),
        ("0.15", 0.15),
        ("1e3", 1000.0),
        ("0x10", 16),
        ("12", 12),
        ("Off", False),
        ("yes", True),
        ("y", True),
        ("N", False),
        ("yy", "yy"),
        ("~", None),
        ('"Off"', "Off"),
        ("1.2.3", "1.2.3"),
        ("5m", "5m"),
    ],
)
def test_words(text: str, value: object) -> None:
    assert read_yaml(f"a: {text}") == {"a": value}
    assert type(read_yaml(f"a: {text}")["a"]) is type(value)


@pytest.mark.parametrize("key", ["no", "y", "On", "~", "1.10", "0123", "12", "1e3"])
def test_a_key_is_the_text_that_is_written(key: str) -> None:
    assert read_yaml(f"{key}: {{{key}: a}}") == {key: {key: "a"}}


def test_merge_keys_are_understood() -> None:
    assert read_yaml("a: &x {b: 1, c: 1}\nd:\n  <<: *x\n  c: 2\n") == {"a": {"b": 1, "c": 1}, "d": {"b": 1, "c": 2}}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: [\n", 3, "not valid YAML: did not find expected node content"),
        ("a: 1\na: 2\n", 2, "not valid YAML: the key a is repeated"),
        ("a: !!python/object:os.system {}\n", 1, "not valid YAML: could not determine a constructor for the tag"),
        ("a: *nowhere\n", 1, "not valid YAML: found undefined alias"),
        ("a: \x01\n", 1, "not valid YAML: "),
    ],
)
def test_bad_yaml(text: str, line: int, message: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        read_yaml(text)
    assert caught.value.line == line
    assert caught.value.message.startswith(message)


def test_bad_json() -> None:
    with pytest.raises(UnreadableError) as caught:
        read_json('{"a": 1,\n "b" 2}')
    assert (caught.value.line, caught.value.message) == (2, "not valid JSON: Expecting ':' delimiter")
    with pytest.raises(UnreadableError):
        read_json("[" * 100_000)


@given(st.text(st.sampled_from("ab:-# \n[]{}'\"|&*!%\t1"), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for chunk in split(text):
        with contextlib.suppress(UnreadableError):
            read_yaml(chunk.text)
