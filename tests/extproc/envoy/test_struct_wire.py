"""Dynamic metadata written without its classes: they read what was meant."""

from typing import Any

from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf.json_format import MessageToDict
from hypothesis import example, given
from hypothesis import strategies as st

from limpet_extproc.envoy.struct_wire import (
    TRUE,
    array,
    entry,
    items,
    metadata,
    number,
    splice,
    table,
    text,
    text_metadata,
)

VALUE = st.recursive(
    st.just(True) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
)


def written(value: Any) -> bytes:
    if value is True:
        return TRUE
    if isinstance(value, float):
        return number(value)
    if isinstance(value, str):
        return text(value)
    return array(items(map(written, value))) if isinstance(value, list) else table(entries(value))


def entries(values: dict[str, Any]) -> bytes:
    return b"".join(entry(name, written(value)) for name, value in values.items())


@given(st.text(min_size=1, max_size=20), st.dictionaries(st.text(max_size=8), VALUE, max_size=4))
@example("limpet.record", {"v": "x" * 100})
@example("limpet.record", {"v": "x" * 40_000})
@example("limpet.decision", {"edits": {"": [[1.0, 2.0, ""], [3.0, 4.0, True]]}})
def test_metadata_is_read_as_it_was_meant(namespace: str, values: dict[str, Any]) -> None:
    message = pb.ProcessingResponse.FromString(metadata(namespace, entries(values)))
    assert MessageToDict(message.dynamic_metadata) == {namespace: values}


@given(st.text(max_size=40_000))
def test_a_text_of_each_request_is_written_as_any_other(value: str) -> None:
    assert text_metadata("limpet.record", "v")(value) == metadata("limpet.record", entry("v", text(value)))


@given(st.integers(0, 2**40), st.integers(0, 2**40), st.just(True) | st.text(max_size=300))
def test_a_splice_is_written_as_any_other_list(offset: int, size: int, value: Any) -> None:
    assert splice(offset, size, written(value)) == array(items([number(offset), number(size), written(value)]))
