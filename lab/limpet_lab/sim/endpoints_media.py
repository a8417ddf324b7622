"""Images and audio: JSON or forms in, JSON or sound out."""

from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from aiohttp import web

from limpet_lab.sim.bills import book
from limpet_lab.sim.endpoints import read_body, require_known
from limpet_lab.sim.faults import Fault
from limpet_lab.sim.multipart import parts_of
from limpet_lab.sim.provider import SimulatedProvider, json_response
from limpet_lab.sim.refusal import RefusalError
from limpet_lab.sim.wire import Usage

PIXEL: Final = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001e527d4a200"
    "00000049454e44ae426082"
)
"""A PNG of one pixel."""

SOUND: Final = b"ID3\x04\x00\x00\x00\x00\x00\x00" + bytes(range(256)) * 8
"""What stands for speech: bytes that are no text."""

_MOST_IMAGES: Final = 10

_Made = Callable[[dict[str, Any]], web.Response]


def media_routes(seller: SimulatedProvider) -> Iterable[web.RouteDef]:
    """Those that the vendor has."""
    base = seller.config.base

    def images(body: dict[str, Any]) -> web.Response:
        if not body.get("prompt"):
            raise RefusalError(400, "'prompt' is required.", param="prompt")
        image = {"b64_json": b64encode(PIXEL).decode(), "revised_prompt": str(body["prompt"])}
        tokens = seller.config.tokens.tokens(str(body["prompt"]))
        details = {"text_tokens": tokens, "image_tokens": 0}
        usage = {
            "input_tokens": tokens,
            "input_tokens_details": details,
            "output_tokens": 1,
            "total_tokens": tokens + 1,
        }
        count = str(body.get("n") or 1)
        if not count.isdecimal() or not 1 <= int(count) <= _MOST_IMAGES:
            raise RefusalError(400, f"'n' must be from 1 to {_MOST_IMAGES}.", param="n")
        data = [image] * int(count)
        return json_response(200, {"created": int(seller.times.wall()), "data": data, "usage": usage})

    def speech(body: dict[str, Any]) -> web.Response:
        if not body.get("input") or not body.get("voice"):
            raise RefusalError(400, "'input' and 'voice' are required.", param="input")
        return web.Response(body=SOUND, content_type="audio/mpeg")

    def transcription(body: dict[str, Any]) -> web.Response:
        file: bytes = body["file"]
        text = f"{len(file)} bytes of sound"
        if body.get("response_format") == "text":
            return web.Response(text=text + "\n")
        return json_response(200, {"text": text, "usage": {"type": "duration", "seconds": 1}})

    if "images" in seller.rules.endpoints:
        yield web.post(base + "/images/generations", _json(seller, "generations", images))
        yield web.post(base + "/images/edits", _form(seller, "edits", "image", images))
    if "audio" in seller.rules.endpoints:
        yield web.post(base + "/audio/speech", _json(seller, "speech", speech))
        yield web.post(base + "/audio/transcriptions", _form(seller, "transcriptions", "file", transcription))


def _json(seller: SimulatedProvider, api: str, kind: _Made) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(request: web.Request) -> web.StreamResponse:
        async def reply(account: str, _fault: Fault) -> web.StreamResponse:
            return _booked(seller, account, read_body(seller, await request.read(), api), kind)

        return await seller.handle(request, "other", reply)

    return handler


def _form(
    seller: SimulatedProvider, api: str, file: str, kind: _Made
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(request: web.Request) -> web.StreamResponse:
        async def reply(account: str, _fault: Fault) -> web.StreamResponse:
            parts = parts_of(request.headers.get("content-type", ""), await request.read())
            body = {part.name: part.content if part.filename else part.content.decode() for part in parts}
            require_known(seller, body, api)
            sent = body.get(file, body.get(file + "[]"))
            if not isinstance(sent, bytes):
                raise RefusalError(400, f"'{file}' is required, as a file.", param=file)
            return _booked(seller, account, body, kind)

        return await seller.handle(request, "other", reply)

    return handler


def _booked(seller: SimulatedProvider, account: str, body: dict[str, Any], kind: _Made) -> web.Response:
    answer = kind(body)
    told = str(body.get("prompt") or body.get("input") or "")
    book(seller, account, body["model"], Usage(seller.config.tokens.tokens(told), 0, 0, 0))
    return answer
