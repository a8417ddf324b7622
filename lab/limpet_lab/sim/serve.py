"""Serves one turn, whatever its API: reads the cache, answers, books the bill."""

from collections.abc import Sequence
from typing import Final

import msgspec
from aiohttp import web

from limpet_lab.sim.answer import answer
from limpet_lab.sim.bills import charge
from limpet_lab.sim.faults import Fault, reset
from limpet_lab.sim.ledger import Row
from limpet_lab.sim.provider import SimulatedProvider, pause
from limpet_lab.sim.turn import AnswerWriter, AskedTurn
from limpet_lab.sim.wire import Head, Usage

_DRIP_PIECES: Final = 8
"""Pieces into which a body that is no stream is cut when a fault needs pieces."""


class _Delivery(msgspec.Struct):
    """How far an answer got; the one mutable value of a request."""

    pieces: int
    sent: int = 0

    def share(self, output: int) -> int:
        """Output tokens that were produced, rounded up."""
        return -(-output * self.sent // self.pieces)


async def serve(
    seller: SimulatedProvider, request: web.Request, turn: AskedTurn, writer: AnswerWriter, account: str, fault: Fault
) -> web.StreamResponse:
    """Answer a valid request of an account."""
    started, arrived_s = seller.times.monotonic(), seller.times.wall()
    ttl_s = seller.rules.cache.asked_ttl_s(turn.body)
    scope = seller.cache.scope(account, turn.model, turn.body)
    reading = seller.cache.read(turn.prompt, scope, started, turn.marks, ttl_s)
    if seller.rules.cache.readable_after == "RequestStart":
        seller.cache.write(reading, started, started)
    reply = answer(
        turn.prompt,
        seller.config.output_tokens,
        turn.max_tokens,
        turn.tool,
        schema=turn.schema,
        reasoning=turn.reasoning,
    )
    usage = Usage(
        turn.prompt.tokens, reading.cached, reading.written, reply.tokens, reading.written_long, reply.reasoning
    )
    head = Head(writer.id_prefix + seller.new_id(), int(arrived_s), turn.model)
    pieces = (
        tuple(writer.events(head, reply, usage)) if turn.stream else _pieces(writer.whole(head, reply, usage), fault)
    )
    pace = seller.config.pace
    await pause((pace.first_byte_ms + pace.uncached_ms_per_thousand * (usage.prompt - usage.cached) / 1000) / 1000)
    seller.cache.write(reading, started, seller.times.monotonic())
    delivery = _Delivery(len(pieces))
    gap = fault.delay_s if fault.kind == "slow_drip" else pace.chunk_ms / 1000
    try:
        response = await _send(request, pieces, delivery, (turn.stream, fault, gap), head)
    finally:
        produced = msgspec.structs.replace(usage, output=delivery.share(usage.output))
        _book(seller, head, turn, account, produced, arrived_s, delivery.sent == delivery.pieces)
    if seller.rules.cache.cache_output and delivery.sent == delivery.pieces:
        seller.cache.extend(writer.kept(turn.prompt, head, reply), scope, started, seller.times.monotonic(), ttl_s)
    return response


def _pieces(body: bytes, fault: Fault) -> Sequence[bytes]:
    if fault.kind not in ("slow_drip", "reset_within_body"):
        return (body,)
    size = -(-len(body) // _DRIP_PIECES)
    return tuple(body[start : start + size] for start in range(0, len(body), size))


async def _send(
    request: web.Request, pieces: Sequence[bytes], delivery: _Delivery, how: tuple[bool, Fault, float], head: Head
) -> web.StreamResponse:
    stream, fault, gap = how
    headers = {"X-Request-Id": head.id, "Content-Type": "text/event-stream" if stream else "application/json"}
    if not stream:
        headers["Content-Length"] = str(sum(map(len, pieces)))
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    for piece in pieces:
        if fault.kind == "reset_within_body" and delivery.sent == fault.after_pieces:
            return await reset(request)
        if delivery.sent:
            await pause(gap)
        await response.write(piece)
        delivery.sent += 1
    await response.write_eof()
    return response


def _book(
    seller: SimulatedProvider, head: Head, turn: AskedTurn, account: str, usage: Usage, arrived_s: float, complete: bool
) -> None:
    usd, window = charge(seller, turn.model, usage, arrived_s, turn.body.get("service_tier"))
    seller.ledger.add(
        Row(
            id=head.id,
            account=account,
            model=turn.model,
            stream=turn.stream,
            complete=complete,
            prompt=usage.prompt,
            cached=usage.cached,
            written=usage.written,
            written_long=usage.written_long,
            output=usage.output,
            usd=usd,
            window=window,
        )
    )
