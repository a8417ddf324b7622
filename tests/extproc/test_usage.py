"""Token usage as Envoy's filter writes it, from bytes made by hand."""

import pytest

from limpet_extproc.usage import Usage, parse


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
        (count(INPUT, 5000), Usage(5000, None, 0)),
        (count(INPUT, 5000) + count(OUTPUT, 12), Usage(5000, None, 12)),
        (count(INPUT, 5000) + message(DETAILS, b""), Usage(5000, None, 0)),
        (count(INPUT, 5000) + message(DETAILS, count(CACHED, 0)), Usage(5000, 0, 0)),
        (count(INPUT, 5000) + message(DETAILS, count(CACHED, 4096)), Usage(5000, 4096, 0)),
        (count(INPUT, 0) + count(99, 7), Usage(0, None, 0)),
    ],
)
def test_unreported_is_not_zero(data: bytes, expected: Usage | None) -> None:
    assert parse(data) == expected
