"""What counts as an answer of each API, and what is an error that calls itself a success."""

import json
from typing import Any

import pytest
from tests.operator.publish.lua_world import Attempt, LuaWorld, Reply

from limpet_extproc.contract.envoy import TRAIL_CAUSE, TRAIL_FIRST_TOKEN_MS, TRAIL_METADATA

_SSE = {"content-type": "text/event-stream"}
_JSON = {"content-type": "application/json"}

_MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "content": [],
    "model": "m",
    "stop_reason": None,
}
_RESPONSE: dict[str, Any] = {"id": "resp_1", "object": "response", "status": "completed", "error": None, "output": []}


def event(name: str, **data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


WHOLE: dict[str, tuple[str, str, object]] = {
    "a completion": ("OpenAIChat", "/v1/chat/completions", {"choices": [], "error": None}),
    "a message": ("AnthropicMessages", "/v1/messages", _MESSAGE),
    "a refusal by the model": ("AnthropicMessages", "/v1/messages", {**_MESSAGE, "stop_reason": "refusal"}),
    "a count of tokens": ("AnthropicMessages", "/v1/messages/count_tokens", {"input_tokens": 12}),
    "a response": ("OpenAIResponses", "/v1/responses", _RESPONSE),
    "an incomplete response": (
        "OpenAIResponses",
        "/v1/responses",
        {**_RESPONSE, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
    ),
    "a response that goes on": ("OpenAIResponses", "/v1/responses", {**_RESPONSE, "status": "queued"}),
    "a response's tokens": (
        "OpenAIResponses",
        "/v1/responses/input_tokens",
        {"object": "response.input_tokens", "input_tokens": 12},
    ),
    "embeddings": ("embeddings", "/v1/embeddings", {"object": "list", "data": [{"embedding": [0.5]}]}),
    "text": ("completions", "/v1/completions", {"choices": [{"text": "x"}]}),
    "images": ("images", "/v1/images/generations", {"created": 1, "data": [{"b64_json": "x"}]}),
    "moderation": ("moderations", "/v1/moderations", {"results": [{"flagged": True}]}),
    "a ranking": ("rerank", "/v1/rerank", {"results": [{"index": 0, "relevance_score": 0.5}]}),
    "what nobody here knows": ("ocr", "/v1/ocr", {"pages": []}),
}

STREAMED: dict[str, tuple[str, list[bytes]]] = {
    "a message": (
        "AnthropicMessages",
        [event("message_start", message=_MESSAGE), event("ping"), event("message_stop")],
    ),
    "a response": (
        "OpenAIResponses",
        [event("response.created", response=_RESPONSE), event("response.completed", response=_RESPONSE)],
    ),
    "an incomplete response": (
        "OpenAIResponses",
        [event("response.incomplete", response={**_RESPONSE, "status": "incomplete"})],
    ),
    "words about errors": (
        "AnthropicMessages",
        [
            event("message_start", message=_MESSAGE),
            event("content_block_delta", delta={"type": "text_delta", "text": '{"type":"error"}\n\nevent: error'}),
            event("content_block_delta", delta={"type": "input_json_delta", "partial_json": '{"error": "full"}'}),
        ],
    ),
    "an event of a later day": ("AnthropicMessages", [event("message_start", message=_MESSAGE), event("weather")]),
    "an image": ("images", [event("image_generation.completed", b64_json="x" * 200_000)]),
}

BROKEN: dict[str, tuple[str, str, list[bytes]]] = {
    "an Anthropic error first": (
        "AnthropicMessages",
        "Overloaded",
        [event("error", error={"type": "overloaded_error", "message": "Overloaded"})],
    ),
    "an Anthropic error in the middle": (
        "AnthropicMessages",
        "ErrorInAnswer",
        [event("message_start", message=_MESSAGE), event("error", error={"type": "api_error", "message": "Oh"})],
    ),
    "an Anthropic error without its name": (
        "AnthropicMessages",
        "ErrorInAnswer",
        [
            event("message_start", message=_MESSAGE),
            b'data: {"type": "error", "error": {"type": "api_error", "message": "Oh"}}\n\n',
        ],
    ),
    "a failed response": (
        "OpenAIResponses",
        "ErrorInAnswer",
        [
            event("response.created", response=_RESPONSE),
            event("response.failed", response={**_RESPONSE, "error": {"code": "server_error", "message": "Oh"}}),
        ],
    ),
    "an error of a response": (
        "OpenAIResponses",
        "ErrorInAnswer",
        [b'data: {"type": "error", "code": "server_error", "message": "Oh", "param": null}\n\n'],
    ),
    "only pings": ("AnthropicMessages", "NotAnAnswer", [event("ping"), event("ping")]),
}


@pytest.fixture(scope="module")
def lua() -> LuaWorld:
    return LuaWorld()


def causes(attempt: Attempt) -> list[str]:
    """What was noted against the provider."""
    trail = attempt.metadata.get(TRAIL_METADATA, {})
    return [note[TRAIL_CAUSE] for number, note in trail.items() if isinstance(number, (int, float))]


@pytest.mark.parametrize(("api", "path", "body"), WHOLE.values(), ids=WHOLE.keys())
@pytest.mark.parametrize("in_pieces", [False, True], ids=["held", "passing"])
def test_an_answer_of_each_api_is_one(lua: LuaWorld, api: str, path: str, body: object, in_pieces: bool) -> None:
    text = json.dumps(body).encode()
    chunks = [text[:9], text[9:], b""] if in_pieces else [text]
    got = lua.answer(Reply(chunks, headers=_JSON), decision={"api": api}, path=path)
    assert got.body == text
    assert got.headers[":status"] == "200"
    assert causes(got) == []


@pytest.mark.parametrize(("api", "chunks"), STREAMED.values(), ids=STREAMED.keys())
def test_a_stream_of_each_api_is_an_answer_and_passes_as_it_is(lua: LuaWorld, api: str, chunks: list[bytes]) -> None:
    got = lua.answer(Reply([*chunks, b""], headers=_SSE), decision={"api": api})
    assert list(got.chunks) == [*chunks, b""]
    assert causes(got) == []


@pytest.mark.parametrize(("api", "cause", "chunks"), BROKEN.values(), ids=BROKEN.keys())
def test_a_stream_with_an_error_is_none(lua: LuaWorld, api: str, cause: str, chunks: list[bytes]) -> None:
    got = lua.answer(Reply([*chunks, b""], headers=_SSE), decision={"api": api})
    assert got.body == b"".join(chunks)
    assert causes(got) == [cause]


@pytest.mark.parametrize(
    ("api", "body"),
    [
        *((api, {"error": {"message": "Oh"}}) for api in ("AnthropicMessages", "OpenAIResponses", "embeddings", "ocr")),
        ("AnthropicMessages", {"type": "error", "error": {"type": "api_error", "message": "Oh"}}),
        ("OpenAIResponses", {**_RESPONSE, "status": "failed", "error": {"code": "server_error", "message": "Oh"}}),
        *((api, {}) for api in ("AnthropicMessages", "OpenAIResponses", "embeddings", "rerank", "images")),
        *((api, b"") for api in ("AnthropicMessages", "ocr")),
    ],
)
def test_an_error_that_calls_itself_a_success_is_none(lua: LuaWorld, api: str, body: object) -> None:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    got = lua.answer(Reply([text], headers=_JSON), decision={"api": api})
    assert got.headers[":status"] == "502"
    assert causes(got) == ["NotAnAnswer" if body in ({}, b"") else "ErrorInAnswer"]


@pytest.mark.parametrize(
    ("api", "path", "status"),
    [
        *(("audio", "/v1/audio/speech", status) for status in ("200", "201", "206")),
        *(("files", "/v1/files/file-1/content", status) for status in ("200", "202", "204")),
        ("OpenAIResponses", "/v1/responses/resp_1", "200"),
        ("OpenAIResponses", "/openai/v1/responses/resp_1/cancel", "200"),
    ],
)
def test_sound_and_objects_pass_unread_whatever_they_are(lua: LuaWorld, api: str, path: str, status: str) -> None:
    body = b'\x00\xff{"error": {"message": "a word in a file"}}'
    got = lua.answer(Reply([body], status, {"content-type": "text/html"}), decision={"api": api}, path=path)
    assert (got.headers[":status"], got.body, causes(got)) == (status, body, [])


@pytest.mark.parametrize(("status", "own"), [("404", True), ("409", True), ("405", True), ("401", False)])
def test_that_an_object_is_not_there_is_for_the_client_to_know(lua: LuaWorld, status: str, own: bool) -> None:
    body = json.dumps({"error": {"message": "No such File object", "type": "invalid_request_error"}}).encode()
    got = lua.answer(Reply([body], status, _JSON), decision={"api": "files"}, path="/v1/files/file-1")
    assert (got.headers[":status"] == status and got.body == body) is own
    assert causes(got) == ["BadRequest" if own else "CredentialRefused"]


@pytest.mark.parametrize(
    ("api", "first", "then"),
    [
        (
            "AnthropicMessages",
            event("message_start", message=_MESSAGE),
            event("content_block_delta", delta={"type": "text_delta", "text": "A"}),
        ),
        (
            "AnthropicMessages",
            event("content_block_delta", delta={"type": "thinking_delta", "thinking": ""}),
            event("content_block_delta", delta={"type": "thinking_delta", "thinking": "A"}),
        ),
        (
            "OpenAIResponses",
            event("response.created", response={**_RESPONSE, "instructions": "content"}),
            event("response.output_text.delta", delta="A"),
        ),
        ("OpenAIChat", b'data: {"choices":[{"delta":{"content":""}}]}\n\n', b'data: {"delta":{"content":"A"}}\n\n'),
    ],
)
def test_a_first_token_that_comes_late_is_noted(lua: LuaWorld, api: str, first: bytes, then: bytes) -> None:
    passed: list[int] = []
    reply = Reply([first, then, then, b""], headers=_SSE)
    got = lua.answer(reply, decision={"api": api}, passed=passed.append, now_ms=lambda: 1000 * (1 + len(passed)))
    assert got.metadata[TRAIL_METADATA][TRAIL_FIRST_TOKEN_MS] == 1000
