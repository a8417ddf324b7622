"""The other JSON endpoints with a model: completions, embeddings, moderations, rerank."""

import struct
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any, Final

import msgspec
import xxhash
from aiohttp import web

from limpet_lab.sim.answer import Answer
from limpet_lab.sim.bills import book
from limpet_lab.sim.chat import json_object
from limpet_lab.sim.faults import Fault
from limpet_lab.sim.prompt import Prompt
from limpet_lab.sim.provider import SimulatedProvider, json_response
from limpet_lab.sim.refusal import RefusalError
from limpet_lab.sim.rules import Quantity
from limpet_lab.sim.serve import serve
from limpet_lab.sim.turn import AskedTurn
from limpet_lab.sim.wire import Head, Usage, usage_object

_DIMENSIONS: Final = 8
_CATEGORIES: Final = (
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent"),
    *("self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors"),
    *("violence", "violence/graphic"),
)
_USAGE: Final[dict[str, Quantity]] = {"prompt_tokens": "prompt", "completion_tokens": "output", "total_tokens": "total"}

_Work = Callable[[dict[str, Any]], tuple[dict[str, object], int]]
"""From a body: its answer, and how many tokens that costs."""


def endpoint_routes(seller: SimulatedProvider) -> Iterable[web.RouteDef]:
    """Those that the vendor has."""
    base = seller.config.base
    for name, work in (("embeddings", _embeddings), ("moderations", _moderations), ("rerank", _rerank)):
        if name in seller.rules.endpoints:
            yield web.post(f"{base}/{name}", _stateless(seller, name, work(seller)))
    if "completions" in seller.rules.endpoints:
        yield web.post(base + "/completions", _completions(seller))


def read_body(seller: SimulatedProvider, data: bytes, api: str) -> dict[str, Any]:
    """A JSON body with fields of this API and a model of this seller. Raises RefusalError."""
    body: dict[str, Any] = json_object(data)
    require_known(seller, body, api)
    return body


def require_known(seller: SimulatedProvider, body: dict[str, Any], api: str) -> None:
    """The fields are those of this API and the model one of this seller's. Raises RefusalError."""
    known = seller.fields(api)
    if known is not None and (unknown := [name for name in body if name not in known]):
        raise RefusalError(400, f"Unrecognized request argument supplied: {', '.join(unknown)}")
    if not isinstance(body.get("model"), str):
        raise RefusalError(400, "you must provide a model parameter", param="model")
    seller.require_model(body["model"])


def _stateless(
    seller: SimulatedProvider, api: str, work: _Work
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(request: web.Request) -> web.StreamResponse:
        async def reply(account: str, _fault: Fault) -> web.StreamResponse:
            body = read_body(seller, await request.read(), api)
            answer, tokens = work(body)
            book(seller, account, body["model"], Usage(tokens, 0, 0, 0))
            return json_response(200, {**answer, "model": body["model"]})

        return await seller.handle(request, "other", reply)

    return handler


def _embeddings(seller: SimulatedProvider) -> _Work:
    def work(body: dict[str, Any]) -> tuple[dict[str, object], int]:
        given = body.get("input")
        inputs = given if isinstance(given, list) and given and isinstance(given[0], str | list) else [given]
        if not inputs or inputs[0] in (None, ""):
            raise RefusalError(400, "'input' must be a string or an array of them.", param="input")
        size = body.get("dimensions") or _DIMENSIONS
        if not isinstance(size, int) or size < 1:
            raise RefusalError(400, "'dimensions' must be a whole number of at least 1.", param="dimensions")
        in_base64 = body.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": _vector(text, size, in_base64=in_base64)}
            for index, text in enumerate(inputs)
        ]
        tokens = sum(seller.config.tokens.tokens(str(text)) for text in inputs)
        return {"object": "list", "data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}, tokens

    return work


def _vector(text: object, size: int, *, in_base64: bool) -> list[float] | str:
    numbers = [xxhash.xxh3_64_intdigest(f"{n}:{text}".encode()) % 2001 / 1000 - 1 for n in range(size)]
    return b64encode(struct.pack(f"<{size}f", *numbers)).decode() if in_base64 else numbers


def _moderations(seller: SimulatedProvider) -> _Work:
    def work(body: dict[str, Any]) -> tuple[dict[str, object], int]:
        given = body.get("input")
        inputs = given if isinstance(given, list) else [given]
        results = [
            {
                "flagged": "violence" in str(text),
                "categories": {name: name in str(text) for name in _CATEGORIES},
                "category_scores": {name: 0.9 if name in str(text) else 0.1 for name in _CATEGORIES},
                "category_applied_input_types": {name: ["text"] for name in _CATEGORIES},
            }
            for text in inputs
        ]
        tokens = sum(seller.config.tokens.tokens(str(text)) for text in inputs)
        return {"id": "modr-" + seller.new_id(), "results": results}, tokens

    return work


def _rerank(seller: SimulatedProvider) -> _Work:
    def work(body: dict[str, Any]) -> tuple[dict[str, object], int]:
        query, documents = body.get("query"), body.get("documents")
        if not isinstance(query, str) or not isinstance(documents, list):
            raise RefusalError(400, "'query' and 'documents' are required.", param="documents")
        words = set(query.lower().split())
        scored = [
            {"index": index, "relevance_score": len(words & set(str(text).lower().split())) / max(1, len(words))}
            for index, text in enumerate(documents)
        ]
        scored.sort(key=lambda each: (-each["relevance_score"], each["index"]))
        tokens = sum(seller.config.tokens.tokens(str(text)) for text in (query, *documents))
        results = scored[: body.get("top_n") or len(scored)]
        return {"id": "rerank-" + seller.new_id(), "results": results, "usage": {"total_tokens": tokens}}, tokens

    return work


def _completions(seller: SimulatedProvider) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handler(request: web.Request) -> web.StreamResponse:
        async def reply(account: str, fault: Fault) -> web.StreamResponse:
            body = read_body(seller, await request.read(), "completions")
            prompt = body.get("prompt")
            if not isinstance(prompt, str | list):
                raise RefusalError(400, "'prompt' must be a string or an array.", param="prompt")
            text = prompt if isinstance(prompt, str) else msgspec.json.encode(prompt).decode()
            stream, options = body.get("stream") is True, body.get("stream_options")
            turn = AskedTurn(body, body["model"], Prompt((text,), seller.config.tokens), stream, body.get("max_tokens"))
            writer = _TextWriter(isinstance(options, dict) and options.get("include_usage") is True)
            return await serve(seller, request, turn, writer, account, fault)

        return await seller.handle(request, "other", reply)

    return handler


class _TextWriter:
    """Legacy completions."""

    id_prefix = "cmpl-"

    def __init__(self, include_usage: bool) -> None:
        self._include_usage = include_usage

    def whole(self, head: Head, answer: Answer, usage: Usage) -> bytes:
        """A text completion."""
        return _text(head, answer.text, answer.finish, {"usage": usage_object(usage, _USAGE, show_cache=False)})

    def events(self, head: Head, answer: Answer, usage: Usage) -> Iterator[bytes]:
        """Its chunks."""
        for piece in answer.pieces:
            yield b"data: " + _text(head, piece, None, {}) + b"\n\n"
        yield b"data: " + _text(head, "", answer.finish, {}) + b"\n\n"
        if self._include_usage:
            report = usage_object(usage, _USAGE, show_cache=False)
            yield b"data: " + _text(head, "", None, {"choices": [], "usage": report}) + b"\n\n"
        yield b"data: [DONE]\n\n"

    def kept(self, prompt: Prompt, _head: Head, answer: Answer) -> Prompt:
        """One text, longer."""
        return Prompt((*prompt.segments[:-1], prompt.segments[-1] + answer.text), prompt.ruler)


def _text(head: Head, text: str, finish: str | None, more: dict[str, object]) -> bytes:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    named = {"id": head.id, "object": "text_completion", "created": head.created, "model": head.model}
    return msgspec.json.encode({**named, "choices": [choice], **more})
