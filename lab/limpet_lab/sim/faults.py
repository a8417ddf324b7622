"""What is broken on purpose: the fault that is switched on, and how each kind treats a connection.

Resets are real ones: the socket closes with RST, so a proxy sees what it sees when a machine dies, not a polite end.
"""

import asyncio
import socket
import struct
from typing import Final, Literal

import msgspec
from aiohttp import web

from limpet_lab.sim.refusal import ErrorShape, anthropic_error

Kind = Literal[
    "none",
    "status",
    "hang",
    "latency",
    "slow_drip",
    "reset_before_headers",
    "reset_within_headers",
    "reset_within_body",
]

Endpoint = Literal["chat", "messages", "responses", "models", "other"]
"""What a request asks for; `other`: neither a turn nor the list of models."""

_TURNS: Final = frozenset({"chat", "messages", "responses"})

_FLUSH_S: Final = 0.02
"""Time for bytes already written to leave before the reset that would drop them."""


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fault as `PUT /_sim/fault` takes it."""

    kind: Kind = "none"
    times: int | None = None
    """Requests it still hits; None: until another one replaces it."""
    on: Endpoint | Literal["turns", "all"] = "turns"
    """`turns`: whatever asks a model to answer, by any of the three APIs."""
    status: int = 500
    retry_after_s: float | None = None
    body: object = None
    """Body of a `status` fault: an object is sent as JSON, a string as it is, null gives an error object of the API."""
    delay_s: float = 1.0
    """`latency`: before the first byte; `slow_drip`: between pieces."""
    after_pieces: int = 2
    """`reset_within_body`: pieces that still arrive."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.times is not None and self.times < 1:
            raise ValueError("times must be at least 1, or null for always")
        if not 200 <= self.status <= 599:
            raise ValueError("status must be from 200 to 599")
        if self.delay_s < 0 or self.after_pieces < 0:
            raise ValueError("delay_s and after_pieces must not be negative")

    @property
    def label(self) -> str | None:
        """How the ledger counts a request that this fault leaves without an answer of the model; None: it gets one."""
        if self.kind in ("none", "latency", "slow_drip", "reset_within_body"):
            return None
        return str(self.status) if self.kind == "status" else self.kind


NO_FAULT: Final = Fault()


class Faults:
    """The fault in force; counts down as requests take it."""

    def __init__(self) -> None:
        self.current = NO_FAULT

    def set(self, fault: Fault) -> None:
        """Replace the fault in force."""
        self.current = fault

    def take(self, endpoint: Endpoint) -> Fault:
        """Return the fault that this request meets."""
        fault = self.current
        hit = fault.on in (endpoint, "all") or (fault.on == "turns" and endpoint in _TURNS)
        if fault.kind == "none" or not hit:
            return NO_FAULT
        if fault.times is not None:
            self.current = msgspec.structs.replace(fault, times=fault.times - 1) if fault.times > 1 else NO_FAULT
        return fault


async def meet(fault: Fault, request: web.Request, shape: ErrorShape = "OpenAI") -> web.Response | None:
    """Do to a request what the fault does before an answer exists; None: go on and answer it."""
    match fault.kind:
        case "status":
            return _status(fault, shape)
        case "hang":
            await asyncio.Event().wait()
        case "latency":
            await asyncio.sleep(fault.delay_s)
        case "reset_before_headers":
            return await reset(request)
        case "reset_within_headers":
            if request.transport is not None:
                request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Reque")
            return await reset(request)
        case "none" | "slow_drip" | "reset_within_body":
            pass
    return None


async def reset(request: web.Request) -> web.Response:
    """Close the client's connection with RST. The response that is returned has nowhere to go."""
    await asyncio.sleep(_FLUSH_S)
    if (transport := request.transport) is not None:
        connection = transport.get_extra_info("socket")
        # Linger on with zero seconds makes close() send RST in place of FIN.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=503)


def _status(fault: Fault, shape: ErrorShape) -> web.Response:
    headers = {} if fault.retry_after_s is None else {"Retry-After": f"{fault.retry_after_s:g}"}
    if isinstance(fault.body, str):
        return web.Response(status=fault.status, headers=headers, text=fault.body)
    body = fault.body
    if body is None and shape == "Anthropic":
        body = anthropic_error(fault.status, f"Simulated {fault.status}.")
    elif body is None:
        kind = (
            "rate_limit_error"
            if fault.status == 429
            else "server_error"
            if fault.status >= 500
            else "invalid_request_error"
        )
        code = "rate_limit_exceeded" if fault.status == 429 else None
        body = {"error": {"message": f"Simulated {fault.status}.", "type": kind, "param": None, "code": code}}
    return web.Response(
        status=fault.status, headers=headers, body=msgspec.json.encode(body), content_type="application/json"
    )
