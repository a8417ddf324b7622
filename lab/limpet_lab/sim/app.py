"""The seller's API over HTTP: checks the key, meets the fault in force, reads the cache, answers, books the bill."""

import asyncio
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from limpet_lab.sim.answer import Answer, answer
from limpet_lab.sim.cache import PrefixCache
from limpet_lab.sim.chat import Chat, RefusalError, read_chat
from limpet_lab.sim.config import SellerConfig
from limpet_lab.sim.faults import Fault, Faults, meet, reset
from limpet_lab.sim.ledger import Ledger, Row, price
from limpet_lab.sim.prompt import Prompt, render
from limpet_lab.sim.record import Recorder
from limpet_lab.sim.rules import chat_fields
from limpet_lab.sim.wire import Head, Usage, completion, events, usage_object

_DRIP_PIECES: Final = 8
"""Pieces into which a body that is no stream is cut when a fault needs pieces."""


class Times:
    """The clocks of a seller; virtual ones in tests."""

    def __init__(self, monotonic: Callable[[], float], wall: Callable[[], float]) -> None:
        self.monotonic, self.wall = monotonic, wall


class _Delivery(msgspec.Struct):
    """How far an answer got; the one mutable value of a request."""

    pieces: int
    sent: int = 0

    def share(self, output: int) -> int:
        """Output tokens that were produced, rounded up."""
        return -(-output * self.sent // self.pieces)


class SimulatedProvider:
    """One seller: its state and its handlers."""

    def __init__(self, config: SellerConfig, times: Times, new_id: Callable[[], str]) -> None:
        self.config, self.times, self.new_id = config, times, new_id
        self.rules = config.rules()
        self.cache = PrefixCache(self.rules.cache)
        self.ledger = Ledger()
        self.faults = Faults()
        self.recorder = Recorder() if config.record else None
        self._models = frozenset(model.name for model in config.models)
        self._fields = chat_fields() | set(self.rules.extra_fields) if config.strict else None
        self._auth = config.credential or self.rules.auth
        self._show_cache = self.rules.reports_cache if config.report_cached is None else config.report_cached

    async def models(self, request: web.Request) -> web.StreamResponse:
        """`GET /models`."""
        if (broken := await meet(self.faults.take("models"), request)) is not None:
            return broken
        try:
            self._account(request)
        except RefusalError as refusal:
            return self._refuse(refusal)
        owner = self.config.vendor.lower()
        listed = [
            {"id": model.name, "object": "model", "created": 0, "owned_by": owner} for model in self.config.models
        ]
        return _json(200, {"object": "list", "data": listed})

    @web.middleware
    async def record(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Keep every raw request a client sent, whatever its path, if the configuration wants it."""
        if self.recorder is not None and not request.path.startswith("/_sim/"):
            self.recorder.add(request, await request.read())
        return await handler(request)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """`POST /chat/completions`."""
        data = await request.read()
        fault = self.faults.take("chat")
        if fault.label is not None:
            self.ledger.refuse(fault.label)
        if (broken := await meet(fault, request)) is not None:
            return broken
        try:
            account = self._account(request)
            chat = self._read(data)
        except RefusalError as refusal:
            return self._refuse(refusal)
        return await self._serve(request, chat, account, fault)

    def _read(self, data: bytes) -> Chat:
        chat = read_chat(data, self._fields)
        if chat.model not in self._models:
            words = self.rules.errors.unknown_model
            problem = f"The model {chat.model!r} does not exist or you do not have access to it."
            raise RefusalError(404, problem, code=words.code, kind=words.type)
        return chat

    async def _serve(self, request: web.Request, chat: Chat, account: str, fault: Fault) -> web.StreamResponse:
        started = self.times.monotonic()
        prompt = render(chat.body, self.config.tokens)
        scope = self.cache.scope(account, chat.model, chat.body)
        reading = self.cache.read(prompt, scope, started)
        if self.rules.cache.readable_after == "RequestStart":
            self.cache.write(reading.hashes, started, started)
        reply = answer(prompt, self.config.output_tokens, chat.max_tokens, chat.tool)
        usage = Usage(prompt.tokens, reading.cached, reading.written, reply.tokens)
        head = Head("chatcmpl-" + self.new_id(), int(self.times.wall()), chat.model)
        pieces = self._pieces(head, chat, reply, usage, fault)
        await _pause(self._first_byte_s(usage))
        self.cache.write(reading.hashes, started, self.times.monotonic())
        delivery = _Delivery(len(pieces))
        try:
            response = await self._send(request, pieces, delivery, (chat.stream, fault), head)
        finally:
            self._book(head, chat, account, usage, delivery)
        if self.rules.cache.cache_output and delivery.sent == delivery.pieces:
            self._keep_answer(prompt, reply, head, scope, started)
        return response

    def _pieces(self, head: Head, chat: Chat, reply: Answer, usage: Usage, fault: Fault) -> Sequence[bytes]:
        report = usage_object(usage, self.rules.usage, show_cache=self._show_cache)
        if chat.stream:
            wanted = chat.include_usage or self.rules.stream_usage == "Always"
            return tuple(events(head, reply, report if wanted else None))
        body = completion(head, reply, report)
        if fault.kind not in ("slow_drip", "reset_within_body"):
            return (body,)
        size = -(-len(body) // _DRIP_PIECES)
        return tuple(body[start : start + size] for start in range(0, len(body), size))

    async def _send(
        self, request: web.Request, pieces: Sequence[bytes], delivery: _Delivery, how: tuple[bool, Fault], head: Head
    ) -> web.StreamResponse:
        stream, fault = how
        headers = {"X-Request-Id": head.id, "Content-Type": "text/event-stream" if stream else "application/json"}
        if not stream:
            headers["Content-Length"] = str(sum(map(len, pieces)))
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        gap = fault.delay_s if fault.kind == "slow_drip" else self.config.pace.chunk_ms / 1000
        for piece in pieces:
            if fault.kind == "reset_within_body" and delivery.sent == fault.after_pieces:
                return await reset(request)
            if delivery.sent:
                await _pause(gap)
            await response.write(piece)
            delivery.sent += 1
        await response.write_eof()
        return response

    def _book(self, head: Head, chat: Chat, account: str, usage: Usage, delivery: _Delivery) -> None:
        produced = msgspec.structs.replace(usage, output=delivery.share(usage.output))
        self.ledger.add(
            Row(
                id=head.id,
                account=account,
                model=chat.model,
                stream=chat.stream,
                complete=delivery.sent == delivery.pieces,
                prompt=usage.prompt,
                cached=usage.cached,
                written=usage.written,
                output=produced.output,
                usd=price(produced, self.config.prices_of(chat.model)),
            )
        )

    def _keep_answer(self, prompt: Prompt, reply: Answer, head: Head, scope: int, started: float) -> None:
        message = reply.message("call_" + head.id.rpartition("-")[2])
        self.cache.extend(prompt.then(message), scope, started, self.times.monotonic())

    def _first_byte_s(self, usage: Usage) -> float:
        pace = self.config.pace
        return (pace.first_byte_ms + pace.uncached_ms_per_thousand * (usage.prompt - usage.cached) / 1000) / 1000

    def _account(self, request: web.Request) -> str:
        """Return which of the seller's accounts the request's key belongs to. Raises RefusalError with status 401."""
        if not self.config.api_keys:
            return "open"
        given = request.headers.getall(self._auth.header, [])
        scheme = "" if self._auth.scheme == "Raw" else f"{self._auth.scheme} "
        if len(given) == 1:
            for number, key in enumerate(self.config.api_keys, start=1):
                if hmac.compare_digest(given[0].encode(), (scheme + key).encode()):
                    return f"key-{number}"
        words = self.rules.errors.bad_key
        problem = (
            "is missing"
            if not given
            else "is given more than once"
            if len(given) > 1
            else "is not one of this seller's"
        )
        raise RefusalError(401, f"The API key in {self._auth.header} {problem}.", code=words.code, kind=words.type)

    def _refuse(self, refusal: RefusalError) -> web.Response:
        self.ledger.refuse(str(refusal.status))
        return _json(refusal.status, refusal.body())


def seller_app(seller: SimulatedProvider) -> web.Application:
    """The application without its control endpoints."""
    prefix = seller.config.prefix.rstrip("/")
    app = web.Application(client_max_size=seller.config.max_body_bytes, middlewares=[_errors_as_json, seller.record])
    app.router.add_post(f"{prefix}/chat/completions", seller.chat)
    app.router.add_get(f"{prefix}/models", seller.models)
    return app


@web.middleware
async def _errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a wrong path, a wrong method or a body that is too big with an error object, as the API does."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        refusal = RefusalError(error.status, f"{error.reason}: {request.method} {request.path}")
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _json(error.status, refusal.body(), allowed)


def _json(status: int, value: object, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status, headers=headers, body=msgspec.json.encode(value), content_type="application/json"
    )


async def _pause(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)
