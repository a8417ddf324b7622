"""The messages of OTLP that spans are made of, and no more of it.

They have a pool of descriptors of their own. Two packages bring modules of the name `opentelemetry.proto`, one of them
those of years ago, and pip leaves the one that it installs last; so nothing here may import either (record 80).
"""

from typing import Final, Protocol

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TRACE_SERVICE: Final = "opentelemetry.proto.collector.trace.v1.TraceService"

_PACKAGE: Final = "limpet.otlp"
_SCALARS: Final = {
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
    "enum": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,  # Alike on the wire.
    "fixed32": descriptor_pb2.FieldDescriptorProto.TYPE_FIXED32,
    "fixed64": descriptor_pb2.FieldDescriptorProto.TYPE_FIXED64,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
}
# Number, name and type of each field, * for a repeated one, as in opentelemetry-proto 1.x, whose numbers never change.
_MESSAGES: Final = {
    "ArrayValue": "1 values *AnyValue",
    "KeyValue": "1 key string, 2 value AnyValue",
    "Resource": "1 attributes *KeyValue",
    "InstrumentationScope": "1 name string, 2 version string",
    "Status": "2 message string, 3 code enum",
    "Span": "1 trace_id bytes, 2 span_id bytes, 4 parent_span_id bytes, 5 name string, 6 kind enum, "
    "7 start_time_unix_nano fixed64, 8 end_time_unix_nano fixed64, 9 attributes *KeyValue, 15 status Status, "
    "16 flags fixed32",
    "ScopeSpans": "1 scope InstrumentationScope, 2 spans *Span, 3 schema_url string",
    "ResourceSpans": "1 resource Resource, 2 scope_spans *ScopeSpans, 3 schema_url string",
    "ExportTraceServiceRequest": "1 resource_spans *ResourceSpans",
}
# Fields of AnyValue are one of them at a time, and then also 0, "" and false are sent.
_ANY_VALUE: Final = (
    "1 string_value string, 2 bool_value bool, 3 int_value int64, 4 double_value double, 5 array_value ArrayValue"
)


class OtlpMessage(Protocol):
    """Of a class that is made at run time."""

    def SerializeToString(self) -> bytes:  # noqa: N802
        """As it is sent."""


class OtlpMessageType(Protocol):
    """Such a class."""

    def __call__(self, **fields: object) -> OtlpMessage:
        """One with these fields; a message may be given as a dictionary of its own."""

    def FromString(self, encoded: bytes) -> OtlpMessage:  # noqa: N802
        """One that was encoded. Raises DecodeError."""


def _message(name: str, fields: str, one_of: bool = False) -> descriptor_pb2.DescriptorProto:
    described = descriptor_pb2.DescriptorProto(name=name)
    if one_of:
        described.oneof_decl.add(name="value")
    for field in fields.split(", "):
        number, field_name, kind = field.split()
        scalar = _SCALARS.get(kind)
        described.field.add(
            name=field_name,
            number=int(number),
            label=descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
            if kind.startswith("*")
            else descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
            type=descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE if scalar is None else scalar,
            type_name=f".{_PACKAGE}.{kind.lstrip('*')}" if scalar is None else None,
            oneof_index=0 if one_of else None,
        )
    return described


def _request_type() -> OtlpMessageType:
    file = descriptor_pb2.FileDescriptorProto(name="limpet/otlp.proto", package=_PACKAGE, syntax="proto3")
    file.message_type.append(_message("AnyValue", _ANY_VALUE, one_of=True))
    file.message_type.extend(_message(name, fields) for name, fields in _MESSAGES.items())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found: OtlpMessageType = message_factory.GetMessageClass(
        pool.FindMessageTypeByName(f"{_PACKAGE}.ExportTraceServiceRequest")
    )
    return found


ExportRequest: Final = _request_type()
"""What a collector is sent."""
