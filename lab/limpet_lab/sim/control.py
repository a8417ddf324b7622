"""What only the lab may do to a seller: read its ledger, switch faults, look at raw requests, start over.

`/_sim/…` needs no key, because a seller listens on loopback; it is not part of a real seller's API.
"""

import msgspec
from aiohttp import web

from limpet_lab.sim.faults import Fault
from limpet_lab.sim.provider import SimulatedProvider


class Reset(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to start over; an empty body means all of it."""

    ledger: bool = True
    cache: bool = True
    requests: bool = True
    fault: bool = True


def add_control(app: web.Application, seller: SimulatedProvider) -> None:
    """Add `/_sim/` to a seller's application."""
    control = _Control(seller)
    app.router.add_get("/_sim/ledger", control.ledger)
    app.router.add_post("/_sim/reset", control.reset)
    app.router.add_get("/_sim/fault", control.fault)
    app.router.add_put("/_sim/fault", control.set_fault)
    app.router.add_get("/_sim/requests", control.requests)


class _Control:
    def __init__(self, seller: SimulatedProvider) -> None:
        self._seller = seller

    async def ledger(self, request: web.Request) -> web.Response:
        rows = request.query.get("rows", "2000")
        if not rows.isdecimal():
            return _problem(f"rows is {rows!r}: write how many rows to show")
        return _answer(self._seller.ledger.report(int(rows)))

    async def reset(self, request: web.Request) -> web.Response:
        try:
            wanted = msgspec.json.decode(await request.read() or b"{}", type=Reset)
        except msgspec.MsgspecError as error:
            return _problem(str(error))
        if wanted.ledger:
            self._seller.ledger.reset()
        if wanted.cache:
            self._seller.cache.clear()
        if wanted.fault:
            self._seller.faults.set(Fault())
        if wanted.requests and self._seller.recorder is not None:
            self._seller.recorder.reset()
        return _answer(wanted)

    async def fault(self, _request: web.Request) -> web.Response:
        return _answer(self._seller.faults.current)

    async def set_fault(self, request: web.Request) -> web.Response:
        try:
            fault = msgspec.json.decode(await request.read(), type=Fault)
        except msgspec.MsgspecError as error:
            return _problem(str(error))
        self._seller.faults.set(fault)
        return _answer(fault)

    async def requests(self, _request: web.Request) -> web.Response:
        if self._seller.recorder is None:
            return _problem(
                f"seller {self._seller.config.name} does not record: set `record: true` in its configuration"
            )
        return _answer(self._seller.recorder.report())


def _answer(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _problem(message: str) -> web.Response:
    return web.Response(status=400, body=msgspec.json.encode({"problem": message}), content_type="application/json")
