"""Bodies that would be expensive for a careless reader, of about the given size; JSON, unless named otherwise."""

from collections.abc import Callable, Mapping
from typing import Final

from limpet_lab.bench.latency_load import MODEL

_HEAD: Final = b'{"model":"' + MODEL.encode() + b'","messages":['
_USER: Final = b'{"role":"user","content":"How high is the tide?"}'

Shape = Callable[[int], bytes]
"""From a size in bytes to a body of about that size."""


def _member(piece: bytes, *, begin: bytes = b'"x":[', end: bytes = b"0]", extra: bytes = b'"session_id":"s",') -> Shape:
    """A top-level member that repeats a piece."""
    return lambda size: _HEAD + _USER + b"]," + extra + begin + piece * (size // len(piece)) + end + b"}"


def _content(piece: bytes, *, begin: bytes = b"[", end: bytes = b'{"type":"text","text":"x"}]') -> Shape:
    """The content of the first message, which names the conversation."""
    return lambda size: _HEAD + b'{"role":"user","content":' + begin + piece * (size // len(piece)) + end + b"}]}"


def _messages(piece: bytes, *, before: bytes = _USER + b",") -> Shape:
    return lambda size: _HEAD + before + piece * (size // len(piece)) + _USER + b"]}"


SHAPES: Final[Mapping[str, Shape]] = {
    "one long string": _content(b"The tide. ", begin=b'"', end=b'"'),
    "one long string, an emoji in it": _content(b"The tide. ", begin='"\U0001f41a'.encode(), end=b'"'),
    "an image": _content(
        b"QUFB",
        begin=b'[{"type":"image_url","image_url":{"url":"data:image/png;base64,',
        end=b'"},"cache_control":{"type":"ephemeral"}}]',
    ),
    "line ends": _content(b"\\n", begin=b'"', end=b'"'),
    "escaped letters": _content(b"\\u00e9", begin=b'"', end=b'"'),
    "halves of surrogate pairs": _content(b"\\ud83e", begin=b'"', end=b'"'),
    "halves of surrogate pairs, both spellings": _content(b"\\ud83e\\uDD80\\uDD80", begin=b'"', end=b'"'),
    "empty keys": _member(b'"":0,', begin=b"", end=b'"y":0'),
    "short keys": _member(b'"abcde":0,', begin=b"", end=b'"y":0'),
    "one long key": _member(b"\\u0061", begin=b'"', end=b'":0'),
    "empty lists": _member(b"[],"),
    "small objects": _member(b'{"model":{}},'),
    "small numbers": _member(b"1,"),
    "one long number": _member(b"1", begin=b'"seed":', end=b"1"),
    "white space": _member(b" ", begin=b"", end=b'"y":0'),
    "our fields far apart": lambda size: (
        b'{"session_id":"s",'
        + b" " * size
        + b'"provider":{},"model":"'
        + MODEL.encode()
        + b'","messages":['
        + _USER
        + b"]}"
    ),
    "parts that are objects": _content(b"{},"),
    "parts that are numbers": _content(b"1,"),
    "parts of text": _content(b'{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},'),
    "one part of many lists": _content(b"[],", begin=b'[{"type":"x","x":[', end=b"0]}]"),
    "many system messages": _messages(b'{"role":"system","content":"a"},', before=b""),
    "messages that are numbers": _messages(b"0,"),
    "a long conversation": _messages(b'{"role":"assistant","content":"a"},{"role":"user","content":"b"},'),
    "many tools with a parameter named model": _member(
        b'{"type":"function","function":{"name":"f","parameters":{"properties":{"model":{"type":"string"}}}}},',
        begin=b'"tools":[',
    ),
    "a provider list": _member(b'"a",', begin=b'"provider":{"order":[', end=b'"a"]}', extra=b""),
    "many fields of provider": _member(b'"zdr":true,', begin=b'"provider":{', end=b'"zdr":true}', extra=b""),
    "a long session id": _member(b"s", begin=b'"session_id":"', end=b'"', extra=b""),
    "a long user": _member(b"\\n", begin=b'"user":"', end=b'"', extra=b""),
    "model doubled over and over": _member(b'"model":"m",', begin=b"", end=b'"y":0', extra=b""),
    "model in every other spelling": _member(b'"Model":0,', begin=b"", end=b'"y":0', extra=b""),
    "max_tokens without end": _member(b"9", begin=b'"max_tokens":', end=b"9", extra=b""),
    "a long role": lambda size: _HEAD + b'{"role":"' + b"u" * size + b'"},' + _USER + b"]}",
    "nested lists (no reader takes them)": _member(b"[", end=b""),
    "nested objects (no reader takes them)": _member(b'{"":', begin=b'"x":', end=b""),
    "cut off (not JSON)": lambda size: _HEAD + b'{"role":"user","content":"' + b"a" * size,
    "zeros (not JSON)": lambda size: b"\\x00" * (size // 4),
}
