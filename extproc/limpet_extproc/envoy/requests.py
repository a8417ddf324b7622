"""Envoy's ext_proc requests, read: the head of a request from an attribute or from its headers."""

from typing import Final

from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from limpet_extproc.contract.apis import api_of, asked
from limpet_extproc.contract.envoy import (
    AGENT_HEADERS,
    CODEX_SESSION_HEADERS,
    HEAD_ATTRIBUTE,
    READ_HEADERS,
    SESSION_HEADERS,
)
from limpet_extproc.dialects.registry import spoken
from limpet_extproc.envoy.wire import body_apart
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.reading import LIGHT_BYTES

_PATH: Final = ":path"
_METHOD: Final = ":method"
_ATTRIBUTES: Final = "envoy.filters.http.ext_proc"
_NO_SESSION: Final = "".join(
    ["\n", *[f"{name} \n" for name in (*SESSION_HEADERS, *AGENT_HEADERS.values(), *CODEX_SESSION_HEADERS)]]
)
"""What most requests have there: half of all lines."""


def parsed(data: bytes | memoryview) -> tuple[pb.ProcessingRequest, bytes | memoryview]:
    """The message and the body in it. Raises DecodeError if a header that is read here is not UTF-8."""
    if len(data) <= LIGHT_BYTES:
        request = pb.ProcessingRequest.FromString(bytes(data))
        return request, request.request_body.body
    # The parser would copy the body twice.
    rest, body = body_apart(data)
    return pb.ProcessingRequest.FromString(rest), body


def head_of_attributes(request: pb.ProcessingRequest) -> RequestHead:
    """The head that comes with the body."""
    headers: dict[str, str] = {}
    lines = request.attributes[_ATTRIBUTES].fields[HEAD_ATTRIBUTE].string_value
    for line in lines.replace(_NO_SESSION, "\n").split("\n"):
        if line[-1:] > " ":  # most are absent, and their lines end with the name and a space
            name, _, value = line.partition(" ")
            headers[name] = value
    return _head(headers)


def head_of_headers(request: pb.ProcessingRequest) -> RequestHead:
    """The head that comes before the body, in Header mode."""
    headers: dict[str, str] = {}
    for header in request.request_headers.headers.headers:
        # A policy may name any header, and two texts must not become one.
        headers[header.key] = header.value or header.raw_value.decode("utf-8", "backslashreplace")
    return _head(headers)


def _head(headers: dict[str, str]) -> RequestHead:
    anthropic = "anthropic-version" in headers
    found = spoken(headers.get(_PATH, ""), headers.get("content-type", ""), anthropic=anthropic)
    return RequestHead(found.dialect, headers, found.api, found.asked)


def comes_alone(head: RequestHead) -> bool:
    """Whether Envoy sends no body after this head of a request for an object, though the client may: see `route.py`."""
    return head.headers.get(_METHOD) != "POST" or not head.headers.get("content-length", "1").strip("0")


def not_utf8_header(request: pb.ProcessingRequest) -> str | None:
    """The first header that is read here and is not UTF-8."""
    for header in request.request_headers.headers.headers:
        if header.key in READ_HEADERS:
            try:
                header.raw_value.decode()
            except UnicodeDecodeError:
                return str(header.key)
    return None


def is_turn(head: RequestHead) -> bool:
    """Whether a request is a turn of a conversation, or asks about one, by a path that is an API's own.

    That is all that sidecars send to providers: for the rest the gateway has routes, which say what is served.
    """
    api = api_of(asked(head.headers.get(_PATH, "")).path)
    posted = head.headers.get(_METHOD, "POST") == "POST"
    return posted and api is not None and api.kind in ("conversation", "counting")
