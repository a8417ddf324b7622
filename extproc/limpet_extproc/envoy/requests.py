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
_CREDENTIAL: Final = f"\n{_AUTHORIZATION} ".encode()
_NO_OTHER_CREDENTIAL: Final = b"\nx-api-key \napi-key \nx-goog-api-key \n"
_MOST_HEADS: Final = 1_000
"""That are kept."""
_MOST_HEAD_BYTES: Final = 3 << 10
"""Of what stands behind a body, without its credential, if it is kept; most have a quarter of that."""


def parsed(
    data: bytes | memoryview, apart: tuple[memoryview, memoryview] | None = None
) -> tuple[pb.ProcessingRequest, bytes | memoryview]:
    """The message and the body in it. `apart`: see `body_in_front`, where that has been found out already.

    Raises DecodeError if a header that is read here is not UTF-8.
    """
    if apart is None and len(data) > _COPIED_BYTES:
        apart = body_in_front(data)
    if apart is not None:
        body, after = apart
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
    stands behind a body is kept with what was read of it, and no credential with it; of a path with a query, in which
    one may stand, nothing is. A message that has the same there need not be parsed.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, int, bytes], RequestHead] = {}
        """By what stands before the credential, its length, and what stands after it."""

    def known(self, after: bytes | memoryview) -> RequestHead | None:
        """The head in what follows the body of a message (`body_in_front`), if it has been read before."""
        front, credential, back = _around_credential(bytes(after))
        known = self._known.get((front, len(credential), back))
        if known is None or b"\n" in credential:
            return None
        headers = {**known.headers}  # What is kept is no caller's to change.
        try:
            value = credential.decode()
        except UnicodeDecodeError:
            return None
        if value[-1:] > " ":
            headers[_AUTHORIZATION] = value
        return RequestHead(known.dialect, headers, known.api, known.asked)

    def read(self, request: pb.ProcessingRequest, after: bytes | memoryview = b"") -> RequestHead:
        """The head of this request. `after`: what follows its body, by which it may be known later."""
        lines: str = request.attributes[_ATTRIBUTES].fields[HEAD_ATTRIBUTE].string_value
        head = _head(_headers(lines))
        if f"{_NO_TRACE_NOR_SESSION}{_ROUTE_ALONE}" in lines and "?" not in head.headers.get(_PATH, ""):
            self._keep(head, lines.encode(), bytes(after))
        return head

    def _keep(self, head: RequestHead, lines: bytes, after: bytes) -> None:
        front, credential, back = _around_credential(after)
        first, of_lines, last = _around_credential(lines)
        # Only one that lies in these lines, and whole, says nothing about the rest of the message.
        if not last or of_lines != credential or not (front.endswith(first) and back.startswith(last)):
            return
        if b"\n" in credential or _CREDENTIAL in back or len(front) + len(back) > _MOST_HEAD_BYTES:
            return
        if pb.ProcessingRequest.FromString(after).WhichOneof("request") is not None:
            return  # another body counts
        if len(self._known) >= _MOST_HEADS:
            self._known.clear()
        headers = {name: value for name, value in head.headers.items() if name != _AUTHORIZATION}
        self._known[front, len(credential), back] = RequestHead(head.dialect, headers, head.api, head.asked)


def _around_credential(text: bytes) -> tuple[bytes, bytes, bytes]:
    """What stands before the credential, the credential, and what stands after it: empty if there are others."""
    front, _, rest = text.partition(_CREDENTIAL)
    credential, _, back = rest.partition(_NO_OTHER_CREDENTIAL)
    return front, credential, back


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
