"""Envoy's ext_proc requests, read: the head of a request from an attribute or from its headers."""

from typing import Final

from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from limpet_extproc.contract.apis import api_of, asked
from limpet_extproc.contract.envoy import (
    AGENT_HEADERS,
    CODEX_SESSION_HEADERS,
    DEBUG_KEPT,
    HEAD_ATTRIBUTE,
    HEAD_ROUTE,
    READ_HEADERS,
    SESSION_HEADERS,
    TRACE_HEADER,
)
from limpet_extproc.dialects.registry import spoken
from limpet_extproc.envoy.wire import body_apart, body_in_front
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.reading import LIGHT_BYTES

_PATH: Final = ":path"
_METHOD: Final = ":method"
_ATTRIBUTES: Final = "envoy.filters.http.ext_proc"
_COPIED_BYTES: Final = 1 << 14
"""A message above this is read around its body, which the parser would copy twice."""
_NO_SESSION: Final = "".join(
    ["\n", *[f"{name} \n" for name in (*SESSION_HEADERS, *AGENT_HEADERS.values(), *CODEX_SESSION_HEADERS)]]
)
"""What most requests have there: half of all lines."""
_NO_TRACE_NOR_SESSION: Final = f"\n{TRACE_HEADER} {_NO_SESSION}"
_ROUTE_ALONE: Final = f"{DEBUG_KEPT} \n{HEAD_ROUTE} "
"""What follows then, unless a policy names headers."""
_AUTHORIZATION: Final = "authorization"
_CREDENTIAL: Final = f"\n{_AUTHORIZATION} "
_NO_OTHER_CREDENTIAL: Final = "\nx-api-key \napi-key \nx-goog-api-key \n"
_MOST_HEADS: Final = 1_000
"""That are kept."""
_MOST_HEAD_CHARS: Final = 2 << 10
"""Of one that is kept, without its credential; most have a quarter of that."""


def parsed(data: bytes | memoryview) -> tuple[pb.ProcessingRequest, bytes | memoryview]:
    """The message and the body in it. Raises DecodeError if a header that is read here is not UTF-8."""
    if len(data) > _COPIED_BYTES and (found := body_in_front(data)) is not None:
        body, after = found
        request = pb.ProcessingRequest.FromString(bytes(after))
        if request.WhichOneof("request") is None:
            return request, body
    if len(data) <= LIGHT_BYTES:
        request = pb.ProcessingRequest.FromString(bytes(data))
        return request, request.request_body.body
    rest, body = body_apart(data)
    return pb.ProcessingRequest.FromString(rest), body


class HeadReader:
    """Reads the heads that come with bodies.

    A head that names no session and no trace is the same for all requests of a client, but for its credential. So what
    is read of the rest is kept, and no credential with it; of a path with a query, in which one may stand, nothing is.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], RequestHead] = {}

    def read(self, request: pb.ProcessingRequest) -> RequestHead:
        """The head of this request."""
        lines: str = request.attributes[_ATTRIBUTES].fields[HEAD_ATTRIBUTE].string_value
        front, _, last = lines.partition(_NO_TRACE_NOR_SESSION)
        first, _, rest = front.partition(_CREDENTIAL)
        credential, alone, described = rest.partition(_NO_OTHER_CREDENTIAL)
        if not alone or "\n" in credential or not last.startswith(_ROUTE_ALONE):
            return _head(_headers(lines))
        if "?" in first or len(lines) - len(credential) > _MOST_HEAD_CHARS:
            return _head(_headers(lines))
        key = first, described, last
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _MOST_HEADS:
                self._known.clear()
            known = self._known[key] = _head(_headers("\n".join(key)))
        headers = {**known.headers}  # What is kept is no caller's to change.
        if credential[-1:] > " ":
            headers[_AUTHORIZATION] = credential
        return RequestHead(known.dialect, headers, known.api, known.asked)


def _headers(lines: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines.replace(_NO_SESSION, "\n").split("\n"):
        if line[-1:] > " ":  # most are absent, and their lines end with the name and a space
            name, _, value = line.partition(" ")
            headers[name] = value
    return headers


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
