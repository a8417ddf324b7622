"""Dynamic metadata as a log entry has it, read from its bytes."""

from struct import unpack
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.envoy.noted import fields, numbers, only_text

_TEXT = only_text("v")


def written(values: dict[str, Any]) -> bytes:
    struct = Struct()
    struct.update(values)
    return struct.SerializeToString()


@given(st.text(max_size=20_000))
def test_a_text_alone_is_read_whatever_it_says(value: str) -> None:
    assert _TEXT(written({"v": value})) == value


@pytest.mark.parametrize("length", [0, 1, 26, 127, 128, 3354, 16_383, 16_384, 70_000])
def test_a_text_is_read_whatever_its_length(length: int) -> None:
    assert _TEXT(written({"v": "a" * length})) == "a" * length


@pytest.mark.parametrize(
    ("values", "expected"),
    [({}, ""), ({"w": "x"}, ""), ({"v": 1.0}, ""), ({"v": "x", "w": "y"}, "x"), ({"w": "v", "v": "x\ny"}, "x\ny")],
)
def test_of_any_other_form_the_text_is_looked_for(values: dict[str, Any], expected: str) -> None:
    assert _TEXT(written(values)) == expected


@given(
    st.dictionaries(
        st.sampled_from(["prompt", "cached", "output", "written", "written_long", "reasoning"]), st.floats()
    )
)
def test_each_number_of_a_table_is_read(table: dict[str, float]) -> None:
    found = {name.decode(): unpack("<d", double)[0] for name, double in numbers(written({"v": table}))}
    assert {name: repr(value) for name, value in found.items()} == {name: repr(each) for name, each in table.items()}


def test_what_was_not_noted_has_no_fields() -> None:
    assert dict(fields(None)) == {}
    assert fields(written({"a": 1.0}))["a"].number_value == 1.0


def test_what_is_no_struct_is_an_error() -> None:
    with pytest.raises(DecodeError):
        _TEXT(b"\xff\xff")
