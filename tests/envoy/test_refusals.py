"""What the gateway refuses before a provider is asked: each says what is wrong and what would be right."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, ResponseReceived, StreamReset
from tests.envoy.cast import PLAIN, say
from tests.envoy.raw import request, send
from tests.envoy.stage import Stage

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_CHAT = "/v1/chat/completions"
_BODY = json.dumps({"model": PLAIN, "messages": [say("Hi")]}).encode()
_LENGTH = f"content-length: {len(_BODY)}"


def _chat(*headers: str, body: bytes = _BODY, **kinds: str) -> bytes:
    return request("POST", _CHAT, *headers, body=body, **kinds)


_MALFORMED: dict[str, tuple[bytes, int, str, str]] = {
    "no host": (_chat(_LENGTH, host=""), 400, "no Host header", "refused.malformed"),
    "a host that is none": (_chat(_LENGTH, host="a b"), 400, "is not a host", "refused.malformed"),
    "a websocket": (_chat(_LENGTH, "connection: upgrade", "upgrade: websocket"), 400, "WebSocket", "refused.websocket"),
    "another upgrade": (_chat(_LENGTH, "connection: upgrade", "upgrade: foo"), 400, "(foo)", "refused.malformed"),
    "headers too large": (
        _chat(_LENGTH, "x-big: " + "a" * 70_000),
        431,
        "larger than 60 KiB",
        "refused.headers_too_large",
    ),
    "headers too many": (_chat(_LENGTH, *["x-a: b"] * 120), 431, "more than 100", "refused.headers_too_large"),
    "a length that is not a number": (
        _chat("content-length: abc"),
        400,
        "Content-Length that is not a number",
        "refused.malformed",
    ),
    "two lengths": (_chat("content-length: 3", "content-length: 4"), 400, "not an HTTP request", "refused.malformed"),
    "length and chunks": (
        _chat("content-length: 3", "transfer-encoding: chunked", body=b"0\r\n\r\n"),
        400,
        "send one of them",
        "refused.malformed",
    ),
    "an unknown transfer-encoding": (_chat("transfer-encoding: gzip, chunked"), 501, "'chunked'", "refused.malformed"),
    "a broken chunk": (_chat("transfer-encoding: chunked", body=b"zz\r\n"), 400, "broken chunk", "refused.malformed"),
    "a control character": (_chat(_LENGTH, "x-a: a\x01b"), 400, "control character", "refused.malformed"),
    "a space in the path": (request("GET", "/v1/ models"), 400, "not an HTTP request", "refused.malformed"),
    "a fragment": (request("GET", "/v1/models#top"), 400, "without a fragment", "refused.malformed"),
    "a NUL in the path": (request("GET", "/v1/%00"), 400, "control characters", "refused.malformed"),
    "a method in lower case": (request("get", "/v1/models"), 400, "a method in lower case", "refused.malformed"),
    "a path without a slash": (request("OPTIONS", "*"), 400, "does not begin with a slash", "refused.malformed"),
    "another scheme": (request("GET", "ftp://localhost/v1"), 400, "scheme", "refused.malformed"),
    "no HTTP": (b"hello\r\n\r\n", 400, "not an HTTP request", "refused.malformed"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "TLS spoken to this plain port", "refused.malformed"),
    "a forward proxy's request": (
        request("CONNECT", "api.example:443", host="api.example:443"),
        405,
        "HTTPS_PROXY",
        "refused.method",
    ),
}


@pytest.mark.parametrize(("data", "status", "says", "decision"), _MALFORMED.values(), ids=_MALFORMED.keys())
async def test_what_is_no_request_is_told_why(stage: Stage, data: bytes, status: int, says: str, decision: str) -> None:
    await stage.serve("a")
    answer = await send(stage.origin, data)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.error["type"] == "invalid_request_error"
    assert says in answer.error["message"]
    assert answer.headers["x-limpet-decision"] == decision
    assert "x-limpet-provider" not in answer.headers
    assert not await stage.arrivals("a")


@pytest.mark.parametrize(
    ("method", "path", "status", "allow", "decision"),
    [
        ("GET", _CHAT, 405, "POST", "refused.method"),
        ("PUT", _CHAT, 405, "POST", "refused.method"),
        ("DELETE", _CHAT + "/", 405, "POST", "refused.method"),
        ("POST", "/v1/models", 405, "GET, HEAD", "refused.method"),
        ("DELETE", "/v1/models/plain", 405, "GET, HEAD", "refused.method"),
        ("POST", "/healthz", 405, "GET, HEAD", "refused.method"),
        ("POST", "/v1/nothing", 404, None, "refused.unknown_path"),
        ("POST", "/v1/chat/completions/more", 404, None, "refused.unknown_path"),
        ("POST", "/V1/chat/completions", 404, None, "refused.unknown_path"),
        ("POST", "/api/v1/chat/completions", 404, None, "refused.unknown_path"),
        ("GET", "/favicon.ico", 404, None, "refused.unknown_path"),
    ],
)
@pytest.mark.parametrize("data", [None, b'{"model":"plain"}'], ids=["bare", "with a body"])
async def test_a_wrong_method_or_path_says_what_is_served(
    stage: Stage, method: str, path: str, status: int, allow: str | None, decision: str, data: bytes | None
) -> None:
    await stage.serve("a")
    async with stage.http.request(method, stage.origin + path, data=data) as response:
        assert response.status == status
        assert response.headers.get("allow") == allow
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-limpet-decision"] == decision
        message = json.loads(await response.read())["error"]["message"]
    if allow is None:
        assert _CHAT in message
        assert f"{method} {path}" in message
    else:
        assert f"{path} is asked with {allow.replace(', ', ' or ')}, not with {method}." in message
    assert not await stage.arrivals("a")


@pytest.mark.parametrize("path", ["/api/v1/chat/completions", "/llm/v1/models", "/V1/chat/completions"])
async def test_a_path_that_only_begins_wrongly_is_told_how_a_base_url_ends(stage: Stage, path: str) -> None:
    await stage.serve("a")
    answer = await stage.post({}, path=path)
    assert answer.status == 404
    assert "base_url should end in /v1" in answer.json["error"]["message"]


async def test_a_path_is_told_back_as_json_whatever_is_in_it_and_without_its_query(stage: Stage) -> None:
    await stage.serve("a")
    answer = await send(stage.origin, request("GET", """/v1/a"b'?key=secret"""))
    assert answer.status == 404
    assert "secret" not in answer.error["message"]


_BODYLESS: dict[str, bytes] = {
    "no length": _chat(body=b""),
    "length 0": _chat("content-length: 0", body=b""),
    "length 00": _chat("content-length: 00", body=b""),
    "a misspelt path": request("POST", "/v1//chat/completions/"),
    "HTTP/1.0": _chat(body=b"", version="1.0"),
    "HTTP/1.0 without a host": _chat(body=b"", version="1.0", host=""),
    "compressed": _chat("content-encoding: gzip", "content-length: 0", body=b""),
    "chunks of nothing": _chat("transfer-encoding: chunked", body=b"0\r\n\r\n"),
    "GET in disguise": _chat("x-http-method-override: GET", body=b""),
}


@pytest.mark.parametrize("data", _BODYLESS.values(), ids=_BODYLESS.keys())
async def test_a_post_without_a_body_reaches_nobody_and_is_nobodys_fault(stage: Stage, data: bytes) -> None:
    await stage.serve("a")
    for _ in range(4):
        answer = await send(stage.origin, data)
        assert answer.status == 400
        assert answer.error["code"] == "empty_body"
        assert answer.headers["x-limpet-decision"] == "refused.bad_request"
    assert not await stage.arrivals("a")
    assert await stage.metric("limpet_provider_out") == 0


async def test_a_post_without_a_body_in_header_mode_reaches_nobody_either(header_stage: Stage) -> None:
    await header_stage.serve("a")
    for data in _BODYLESS.values():
        assert (await send(header_stage.origin, data)).error["code"] == "empty_body"
    assert not await header_stage.arrivals("a")


async def test_a_body_of_unannounced_length_is_served(stage: Stage) -> None:
    await stage.serve("a")

    async def pieces() -> AsyncIterator[bytes]:
        yield _BODY[:10]
        yield _BODY[10:]

    async with stage.http.post(stage.origin + _CHAT, data=pieces()) as response:
        assert response.status == 200


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "deflate, identity", "identity, gzip", "zstd"])
async def test_an_encoded_body_is_refused_whoever_is_there_to_decide(stage: Stage, encoding: str) -> None:
    await stage.serve("a")
    answer = await stage.post(_BODY, headers={"content-encoding": encoding})
    assert answer.status == 415
    assert answer.headers["x-limpet-decision"] == "refused.content_encoding"
    assert "send the body uncompressed" in answer.json["error"]["message"]
    assert not await stage.arrivals("a")


async def test_a_body_encoded_as_itself_is_served(stage: Stage) -> None:
    await stage.serve("a")
    assert (await stage.post(_BODY, headers={"content-encoding": "Identity"})).status == 200


async def test_a_provider_that_refuses_connections_is_named_and_the_sentence_ends(stage: Stage) -> None:
    await stage.serve("a", specs={"a": {"url": "http://127.0.0.1:9"}})
    answer = await stage.post(_BODY)
    assert answer.status == 503
    assert answer.headers["x-limpet-provider"] == stage.provider("a")
    assert answer.headers["x-limpet-decision"] == "unsticky.below_minimum", "a decision was made"
    message = answer.json["error"]["message"]
    assert stage.provider("a") in message
    assert not message.endswith(("-", "- ", "-."))


async def _http2(origin: str, *requests: Sequence[tuple[str, str]]) -> dict[int, str]:
    """All on one connection, none with a body: the status of each by its stream, or that it was reset."""
    config = H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
    connection = H2Connection(config=config)
    host, _, port = origin.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    connection.initiate_connection()
    for number, headers in enumerate(requests):
        connection.send_headers(2 * number + 1, headers, end_stream=True)
    writer.write(connection.data_to_send())
    ends: dict[int, str] = {}
    async with asyncio.timeout(20):
        while len(ends) < len(requests):
            data = await reader.read(65536)
            assert data, "the connection was closed"
            for event in connection.receive_data(data):
                assert not isinstance(event, ConnectionTerminated), "the connection was closed"
                if isinstance(event, ResponseReceived):
                    ends[event.stream_id or 0] = dict(event.headers or [])[b":status"].decode()
                elif isinstance(event, StreamReset):
                    ends.setdefault(event.stream_id, "reset")
            writer.write(connection.data_to_send())
    writer.close()
    return ends


def _get(path: str, *more: tuple[str, str]) -> list[tuple[str, str]]:
    return [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", "localhost"), *more]


async def test_a_bad_request_on_a_proxys_http_2_connection_harms_no_other(stage: Stage) -> None:
    await stage.serve("a")
    bad = _get("/v1/models", ("Upper-Case", "x"))
    ends = await _http2(stage.origin, _get("/v1/models"), bad, _get("/v1/models"))
    assert (ends[1], ends[5]) == ("200", "200")
    assert ends[3] in ("400", "reset")


async def test_an_http_2_post_without_a_body_reaches_nobody(stage: Stage) -> None:
    await stage.serve("a")
    post = [(":method", "POST"), *_get(_CHAT)[1:]]
    assert await _http2(stage.origin, post, [*post, ("content-length", "0")]) == {1: "400", 3: "400"}
    assert not await stage.arrivals("a")
