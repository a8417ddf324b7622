"""The access log's messages as far as they are read, beside Envoy's own classes."""

from typing import Any

import pytest
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import Struct
from tests.extproc.envoy.log_world import entry

from limpet_extproc.envoy.log_messages import LOG_ENTRY, LOG_MESSAGE

FULL: Any = accesslog_pb2.HTTPAccessLogEntry()
"""One with a value in all that Envoy may fill in."""


def fill(message: Any, depth: int) -> None:
    for field in message.DESCRIPTOR.fields:
        if field.message_type is None:
            setattr(message, field.name, "x" if isinstance(field.default_value, str) else 1)
        elif not field.message_type.GetOptions().map_entry and depth:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), depth - 1)


fill(FULL, 3)
FULL.common_properties.metadata.filter_metadata["limpet.decision"].update({"reason": "sticky.hit", "edits": [1]})
FULL.common_properties.filter_state_objects["limpet.path"].Pack(Struct())
FULL.response.response_headers["x-limpet-decision"] = "sticky.hit"


def same(read: Any, whole: Any) -> None:
    """All that was read is in the whole entry, too."""
    for field, value in read.ListFields():
        of = field.message_type
        if of is None:
            assert value == getattr(whole, field.name)
        elif of.GetOptions().map_entry:
            theirs = getattr(whole, field.name)
            assert dict(value) == {
                name: each if isinstance(each, str) else each.SerializeToString() for name, each in theirs.items()
            }
        else:
            assert read.HasField(field.name) == whole.HasField(field.name)
            same(value, getattr(whole, field.name))


@pytest.mark.parametrize("built", [FULL, entry(), entry(flags=("upstream_remote_reset",), attempts=3, body_bytes=9)])
def test_what_is_read_is_what_envoy_wrote(built: Any) -> None:
    read = LOG_ENTRY.FromString(built.SerializeToString())
    same(read, built)
    common = read.common_properties
    assert {"metadata", "duration", "upstream_cluster"} <= {field.name for field, _ in common.ListFields()}
    decision = Struct.FromString(common.metadata.filter_metadata["limpet.decision"])
    assert decision == built.common_properties.metadata.filter_metadata["limpet.decision"]


def test_all_fields_are_read_that_an_entry_with_all_of_them_has() -> None:
    read = LOG_ENTRY.FromString(FULL.SerializeToString()).common_properties
    assert [field.name for field in read.DESCRIPTOR.fields if field.name not in dict_of(read)] == []
    flags = read.response_flags
    assert [field.name for field in flags.DESCRIPTOR.fields if not getattr(flags, field.name)] == []


def dict_of(message: Any) -> dict[str, Any]:
    return {field.name: value for field, value in message.ListFields()}


def test_a_message_has_its_entries_in_their_order() -> None:
    message = als_pb2.StreamAccessLogsMessage()
    message.http_logs.log_entry.extend([entry("a"), entry("b")])
    entries = LOG_MESSAGE.FromString(message.SerializeToString()).http_logs.log_entry
    assert [each.common_properties.upstream_cluster for each in entries] == ["a", "b"]


def test_what_is_no_message_is_none() -> None:
    with pytest.raises(DecodeError):
        LOG_MESSAGE.FromString(b"\xff\xff")
