"""Answers of Anthropic's Messages, for an `Upstream`."""

import json
from typing import Any, Final

from tests.envoy.upstream import Reply

USAGE: Final = {
    "input_tokens": 5,
    "cache_read_input_tokens": 100,
    "cache_creation_input_tokens": 20,
    "output_tokens": 7,
}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def message(*content: dict[str, Any], stop: str = "end_turn") -> Reply:
    """A whole answer."""
    return Reply(
        headers={"content-type": "application/json"},
        body={
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude-x",
            "content": list(content) or [text("At home.")],
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": USAGE,
        },
    )


def failure(status: int, type_: str, words: str, **headers: str) -> Reply:
    """An error."""
    body = {"type": "error", "error": {"type": type_, "message": words}, "request_id": "req_1"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"content-type": "application/json", **named}, body)


def event(data: dict[str, Any]) -> bytes:
    """An event of a stream."""
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def streamed(*events: dict[str, Any], whole: bool = True, pause_s: float = 0.0, **how: Any) -> Reply:
    """A streamed answer with these events between its first and, if it is `whole`, its last."""
    began = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": []}
    all_events = [{"type": "message_start", "message": {**began, "stop_reason": None, "usage": USAGE}}, *events]
    if whole:
        all_events.append({"type": "message_stop"})
    pieces: list[bytes | float] = []
    for each in all_events:
        pieces += [event(each), pause_s]
    return Reply(headers={"content-type": "text/event-stream; charset=utf-8"}, pieces=pieces, **how)


def said(*texts: str, index: int = 0, stop: str = "end_turn") -> list[dict[str, Any]]:
    """The events of a block of text, and why the message ends."""
    return [
        {"type": "content_block_start", "index": index, "content_block": text("")},
        *(
            {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": each}}
            for each in texts
        ),
        {"type": "content_block_stop", "index": index},
        *ended(stop),
    ]


def called(index: int, name: str, *pieces: str) -> list[dict[str, Any]]:
    """The events of a tool call."""
    block = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}}
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        *(
            {"type": "content_block_delta", "index": index, "delta": {"type": "input_json_delta", "partial_json": each}}
            for each in pieces
        ),
        {"type": "content_block_stop", "index": index},
    ]


def ended(stop: str) -> list[dict[str, Any]]:
    """The event before the last."""
    return [{"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 9}}]
