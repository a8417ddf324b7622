"""The provider of `limpet bench translation`: it has its answers ready, in both APIs."""

import json
from typing import Any, Final

from aiohttp import web

PIECE: Final = "At home on its rock, "
"""The text of each event."""
_USAGE: Final = {"input_tokens": 9, "output_tokens": 9}
_MESSAGE: Final = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
_WRITE_BYTES: Final = 16 * 1024


def upstream_app() -> web.Application:
    """A server that answers chat completions and Messages alike, with as many events as the model's name says."""
    app = web.Application(client_max_size=64 << 20)
    app.add_routes([web.post("/v1/chat/completions", _chat), web.post("/v1/messages", _messages)])
    return app


async def _chat(request: web.Request) -> web.StreamResponse:
    events = _events(await request.json())
    if events == 0:
        return web.json_response({"id": "c", "choices": [_choice(message={"role": "assistant", "content": PIECE})]})
    chunk = _data({"id": "c", "object": "chat.completion.chunk", "choices": [_choice(delta={"content": PIECE})]})
    return await _stream(request, b"", chunk, events, b"data: [DONE]\n\n")


async def _messages(request: web.Request) -> web.StreamResponse:
    events = _events(await request.json())
    if events == 0:
        content = [{"type": "text", "text": PIECE}]
        return web.json_response({**_MESSAGE, "content": content, "stop_reason": "end_turn", "usage": _USAGE})
    begin = _data({"type": "message_start", "message": {**_MESSAGE, "usage": _USAGE}}) + _data(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    )
    delta = _data({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": PIECE}})
    stop = _data({"type": "content_block_stop", "index": 0})
    why = _data({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": _USAGE})
    end = stop + why + _data({"type": "message_stop"})
    return await _stream(request, begin, delta, events, end)


def _events(body: dict[str, Any]) -> int:
    return int(str(body["model"]).rpartition("-")[2]) if body.get("stream") else 0


def _choice(**what: Any) -> dict[str, Any]:
    return {"index": 0, "finish_reason": None, **what}


def _data(event: dict[str, Any]) -> bytes:
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


async def _stream(request: web.Request, begin: bytes, event: bytes, events: int, end: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    await response.write(begin + event)
    at_once = max(1, _WRITE_BYTES // len(event))
    for _ in range((events - 1) // at_once):
        await response.write(event * at_once)
    await response.write(event * ((events - 1) % at_once) + end)
    await response.write_eof()
    return response
