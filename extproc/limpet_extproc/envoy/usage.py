"""The token usage that Envoy's `ai_protocol_manager` takes from an answer, as the access log carries it.

The filter is alpha in Envoy 1.40 and its message newer than the packaged protobuf classes, so the few fields we read
are declared here, with the numbers of Envoy's own descriptor. What it could not read is unreported, which is not zero.
"""

from typing import Any, Final

import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from limpet_extproc.contract.envoy import USAGE_CACHED, USAGE_OUTPUT, USAGE_PROMPT

METADATA_KEY: Final = "envoy.ai.token_usage"

_PACKAGE: Final = "limpet.envoy_1_40"
_MESSAGE, _UINT64 = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, descriptor_pb2.FieldDescriptorProto.TYPE_UINT64


class TokenUsage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one answer, as the provider counted them; `cached` is part of `prompt`, None if not reported."""

    prompt: int
    cached: int | None
    output: int


def _messages() -> Any:
    """TokenUsage and what it nests; wrappers are declared again so that the pool stays our own."""
    file = descriptor_pb2.FileDescriptorProto(name="limpet/envoy_1_40.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in (
        ("UInt64Value", (("value", 1, _UINT64, ""),)),
        (
            "InputTokenDetails",
            (("cached_tokens", 1, _MESSAGE, "UInt64Value"), ("cache_creation_tokens", 2, _MESSAGE, "UInt64Value")),
        ),
        (
            "TokenUsage",
            (
                ("input_tokens", 3, _MESSAGE, "UInt64Value"),
                ("output_tokens", 4, _MESSAGE, "UInt64Value"),
                ("input_token_details", 6, _MESSAGE, "InputTokenDetails"),
            ),
        ),
    ):
        message = file.message_type.add(name=name)
        for field, number, kind, nested in fields:
            declared = message.field.add(
                name=field, number=number, type=kind, label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
            )
            if nested:
                declared.type_name = f".{_PACKAGE}.{nested}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.TokenUsage"))


_USAGE_MESSAGE: Final = _messages()


MAX_TOKENS: Final = 100_000_000
"""No prompt and no answer has more: a larger number is the provider's mistake, and would stay in the sums."""


def read(envoys: bytes | None, found: Any) -> TokenUsage | None:
    """The usage of an answer: what Envoy's filter read, and in `found` what its Lua found in other spellings.

    None where the answer carried none. The numbers are the provider's, and are not taken further than they can be true:
    what came from the cache is a part of the prompt.
    """
    usage = parse(envoys) if envoys is not None else None
    numbers = {
        key: _tokens(value.number_value) for key, value in found.fields.items() if value.HasField("number_value")
    }
    prompt = numbers.get(USAGE_PROMPT) if usage is None else usage.prompt
    if prompt is None:
        return None
    cached = numbers.get(USAGE_CACHED) if usage is None or usage.cached is None else usage.cached
    output = numbers.get(USAGE_OUTPUT, 0) if usage is None else usage.output
    prompt = _tokens(prompt)
    return TokenUsage(prompt, None if cached is None else min(_tokens(cached), prompt), _tokens(output))


def _tokens(number: float) -> int:
    return int(min(max(0.0, number), MAX_TOKENS)) if number == number else 0


def parse(data: bytes) -> TokenUsage | None:
    """None when the answer carried no usage, or Envoy could not read it."""
    try:
        message = _USAGE_MESSAGE.FromString(data)
    except DecodeError:
        return None
    if not message.HasField("input_tokens"):
        return None
    details = message.input_token_details
    cached = details.cached_tokens.value if details.HasField("cached_tokens") else None
    return TokenUsage(message.input_tokens.value, cached, message.output_tokens.value)
