"""Token usage as Envoy's filter writes it, from bytes made by hand."""

from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.envoy.usage import MAX_TOKENS, TokenUsage, parse, read


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def message(field: int, inside: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(inside)) + inside


def count(field: int, number: int) -> bytes:
    """A wrapped unsigned integer; zero is an empty wrapper, as protobuf writes it."""
    return message(field, b"\x08" + varint(number) if number else b"")


INPUT, OUTPUT, DETAILS, CACHED = 3, 4, 6, 1


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", None),
        (b"\xff\xff", None),
        (count(OUTPUT, 5), None),
        (count(INPUT, 5000), TokenUsage(5000, None, 0)),
        (count(INPUT, 5000) + count(OUTPUT, 12), TokenUsage(5000, None, 12)),
        (count(INPUT, 5000) + message(DETAILS, b""), TokenUsage(5000, None, 0)),
        (count(INPUT, 5000) + message(DETAILS, count(CACHED, 0)), TokenUsage(5000, 0, 0)),
        (count(INPUT, 5000) + message(DETAILS, count(CACHED, 4096)), TokenUsage(5000, 4096, 0)),
        (count(INPUT, 0) + count(99, 7), TokenUsage(0, None, 0)),
    ],
)
def test_unreported_is_not_zero(data: bytes, expected: TokenUsage | None) -> None:
    assert parse(data) == expected


def found(**numbers: Any) -> Struct:
    """What the Lua of a cluster found in an answer."""
    struct = Struct()
    struct.update(numbers)
    return struct


@pytest.mark.parametrize(
    ("envoys", "lua", "expected"),
    [
        (None, {}, None),
        (None, {"prompt": 900, "output": 3, "cached": 512}, TokenUsage(900, 512, 3)),
        (None, {"prompt": 900}, TokenUsage(900, None, 0)),
        (count(INPUT, 900), {"prompt": 900, "output": 3, "cached": 512}, TokenUsage(900, 512, 0)),
        (count(INPUT, 900) + message(DETAILS, count(CACHED, 0)), {"prompt": 1, "cached": 1}, TokenUsage(900, 0, 0)),
        (count(INPUT, 5) + message(DETAILS, count(CACHED, 9_999_999)), {}, TokenUsage(5, 5, 0)),
        (count(INPUT, 2**64 - 1), {}, TokenUsage(MAX_TOKENS, None, 0)),
        (None, {"prompt": "many", "cached": None}, None),
    ],
)
def test_what_envoy_read_comes_first_and_nothing_is_more_than_it_can_be(
    envoys: bytes | None, lua: dict[str, Any], expected: TokenUsage | None
) -> None:
    assert read(envoys, found(**lua)) == expected


@given(
    st.none()
    | st.binary(max_size=30)
    | st.builds(lambda n, c: count(INPUT, n) + message(DETAILS, count(CACHED, c)), *[st.integers(0, 2**64 - 1)] * 2),
    st.dictionaries(st.sampled_from(["prompt", "cached", "output"]), st.floats() | st.text(max_size=3) | st.booleans()),
)
def test_whatever_a_provider_counts_the_sums_stay_true(envoys: bytes | None, lua: dict[str, Any]) -> None:
    usage = read(envoys, found(**lua))
    if usage is not None:
        assert 0 <= (usage.cached or 0) <= usage.prompt <= MAX_TOKENS
        assert 0 <= usage.output <= MAX_TOKENS
