"""Envoy's access log messages with only what is read of them: to read all takes longer than what is done with it.

The fields and their numbers are those of Envoy's own classes. What lies in metadata and in filter state stays bytes:
most of it is for others.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from envoy.service.accesslog.v3 import als_pb2
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

_PACKAGE: Final = "limpet.log"
_READ: Final[Mapping[str, tuple[str, ...]]] = {
    "StreamAccessLogsMessage": ("http_logs",),
    "HTTPAccessLogEntries": ("log_entry",),
    "HTTPAccessLogEntry": ("common_properties", "request", "response"),
    "AccessLogCommon": (
        "start_time",
        "duration",
        "time_to_last_rx_byte",
        "time_to_first_upstream_tx_byte",
        "time_to_first_upstream_rx_byte",
        "time_to_last_upstream_rx_byte",
        "time_to_first_downstream_tx_byte",
        "upstream_remote_address",
        "upstream_cluster",
        "upstream_transport_failure_reason",
        "upstream_request_attempt_count",
        "response_flags",
        "metadata",
        "filter_state_objects",
        "access_log_type",
    ),
    "Timestamp": ("seconds", "nanos"),
    "Duration": ("seconds", "nanos"),
    "Address": ("socket_address",),
    "SocketAddress": ("address", "port_value"),
    "ResponseFlags": (
        "failed_local_healthcheck",
        "no_healthy_upstream",
        "upstream_request_timeout",
        "upstream_remote_reset",
        "upstream_connection_failure",
        "upstream_connection_termination",
        "upstream_protocol_error",
        "upstream_max_stream_duration_reached",
        "stream_idle_timeout",
        "downstream_connection_termination",
        "downstream_remote_reset",
    ),
    "Metadata": ("filter_metadata",),
    "HTTPRequestProperties": ("request_method", "path", "request_headers"),
    "HTTPResponseProperties": ("response_code", "response_body_bytes", "response_headers", "response_code_details"),
    "UInt32Value": ("value",),
}
"""By message, the fields that are read."""


def _with(file: FileDescriptorProto, message: Any) -> str:
    """The name of this message in `file`, to which it and all that is read of it are added."""
    name = f".{_PACKAGE}.{message.name}"
    if any(each.name == message.name for each in file.message_type):
        return name
    whole, added = DescriptorProto(), file.message_type.add(name=message.name)
    message.CopyToProto(whole)
    added.field.extend(field for field in whole.field if field.name in _READ[message.name])
    for field in added.field:
        field.ClearField("oneof_index")
        of = message.fields_by_name[field.name].message_type
        if of is not None and of.GetOptions().map_entry:
            _add_map(added, of)
            field.type_name = f"{name}.{of.name}"
        elif of is not None:
            field.type_name = _with(file, of)
        elif field.type == FieldDescriptorProto.TYPE_ENUM:
            field.type = FieldDescriptorProto.TYPE_INT32
            field.ClearField("type_name")
    return name


def _add_map(message: DescriptorProto, entry: Any) -> None:
    added = message.nested_type.add()
    entry.CopyToProto(added)
    _, value = added.field
    if value.type == FieldDescriptorProto.TYPE_MESSAGE:
        value.type = FieldDescriptorProto.TYPE_BYTES
        value.ClearField("type_name")


def _message_classes() -> tuple[Any, Any]:
    file = FileDescriptorProto(name="limpet/log.proto", package=_PACKAGE, syntax="proto3")
    _with(file, als_pb2.StreamAccessLogsMessage.DESCRIPTOR)
    pool = DescriptorPool()
    pool.Add(file)
    names = ("StreamAccessLogsMessage", "HTTPAccessLogEntry")
    message, entry = (GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in names)
    return message, entry


LOG_MESSAGE, LOG_ENTRY = _message_classes()
"""The classes of a message of the log, and of one of its entries."""

Entry: TypeAlias = Any
Common: TypeAlias = Any
"""The `common_properties` of an entry."""
