"""The name server of the fault campaign: what it answers, and how it takes what is no question."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_lab.bench.faults.name_server import answer

A, AAAA = 1, 28


def query(name: str, kind: int = A) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 4711, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


@pytest.mark.parametrize(
    ("name", "kind", "known", "code", "addresses"),
    [
        ("beta.sellers.example", A, True, 0, 1),
        ("Beta.Sellers.Example", A, True, 0, 1),
        ("beta.sellers.example", AAAA, True, 0, 0),
        ("beta.sellers.example", A, False, 3, 0),
        ("api.example", A, True, 3, 0),
    ],
)
def test_a_name_below_the_domain_is_on_loopback_while_it_is_known(
    name: str, kind: int, known: bool, code: int, addresses: int
) -> None:
    asked = query(name, kind)
    reply = answer(asked, known=known)
    number, flags, questions, answers, *_ = struct.unpack_from("!6H", reply)
    assert (number, flags & 0xF, questions, answers) == (4711, code, 1, addresses)
    assert reply[12:].startswith(asked[12:])
    assert reply.endswith(bytes((127, 0, 0, 1))) == bool(addresses)


@given(st.binary(max_size=80))
def test_bytes_that_are_no_query_get_no_answer_or_a_whole_one(data: bytes) -> None:
    try:
        reply = answer(data, known=True)
    except ValueError:
        return
    assert len(reply) >= 12
