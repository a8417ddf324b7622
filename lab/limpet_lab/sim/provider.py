"""One simulated seller: its state, and what every request meets before an API of its answers it."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from limpet_lab.sim.breakpoints import BreakpointCache
from limpet_lab.sim.cache import PrefixCache
from limpet_lab.sim.config import SellerConfig
from limpet_lab.sim.faults import Endpoint, Fault, Faults, meet
from limpet_lab.sim.ledger import Ledger
from limpet_lab.sim.record import Recorder
from limpet_lab.sim.refusal import ErrorShape, RefusalError
from limpet_lab.sim.responses_store import ResponseStore
from limpet_lab.sim.rules import fields_of

ObjectAnswer = Callable[[web.Request, str], Awaitable[object]]
"""From a request and its account."""


class Times:
    """The clocks of a seller; virtual ones in tests."""

    def __init__(self, monotonic: Callable[[], float], wall: Callable[[], float]) -> None:
        self.monotonic, self.wall = monotonic, wall


class SimulatedProvider:
    """One seller. The modules of the APIs that it speaks work on this."""

    def __init__(self, config: SellerConfig, times: Times, new_id: Callable[[], str]) -> None:
        self.config, self.times, self.new_id = config, times, new_id
        self.rules = config.rules()
        self.cache = (BreakpointCache if self.rules.cache.only_marked else PrefixCache)(self.rules.cache)
        self.ledger = Ledger()
        self.faults = Faults()
        self.responses = ResponseStore()
        self.recorder = Recorder() if config.record else None
        self.show_cache = self.rules.reports_cache if config.report_cached is None else config.report_cached
        self._models = frozenset(model.name for model in config.models)
        ways = (config.credential,) if config.credential else (self.rules.auth, self.rules.auth_too)
        self._auths = [auth for auth in ways if auth]

    async def handle(
        self,
        request: web.Request,
        endpoint: Endpoint,
        reply: Callable[[str, Fault], Awaitable[web.StreamResponse]],
        shape: ErrorShape = "OpenAI",
    ) -> web.StreamResponse:
        """Meet the fault in force, check the key, and let `reply` answer for this account; errors have this shape."""
        await request.read()
        fault = self.faults.take(endpoint)
        if fault.label is not None and endpoint != "models":
            self.ledger.refuse(fault.label)
        if (broken := await meet(fault, request, shape)) is not None:
            return broken
        try:
            return await reply(self.account(request), fault)
        except RefusalError as refusal:
            self.ledger.refuse(str(refusal.status))
            return json_response(refusal.status, refusal.body(shape))

    @web.middleware
    async def record(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Keep every raw request a client sent, whatever its path, if the configuration wants it."""
        if self.recorder is not None and not request.path.startswith("/_sim/"):
            self.recorder.add(request, await request.read())
        return await handler(request)

    def fields(self, api: str) -> frozenset[str] | None:
        """The top-level fields that a request to this API may have; None: any."""
        return fields_of(api) | set(self.rules.extra_fields) if self.config.strict else None

    def require_model(self, model: str) -> None:
        """Raises RefusalError with status 404."""
        if model not in self._models:
            words = self.rules.errors.unknown_model
            problem = f"The model {model!r} does not exist or you do not have access to it."
            raise RefusalError(404, problem, code=words.code, kind=words.type)

    def account(self, request: web.Request) -> str:
        """Return which of the seller's accounts the request's key belongs to. Raises RefusalError with status 401."""
        if not self.config.api_keys:
            return "open"
        for auth in self._auths:
            given = request.headers.getall(auth.header, [])
            scheme = "" if auth.scheme == "Raw" else f"{auth.scheme} "
            for number, key in enumerate(self.config.api_keys, start=1):
                if len(given) == 1 and hmac.compare_digest(given[0].encode(), (scheme + key).encode()):
                    return f"key-{number}"
        given = request.headers.getall(self._auths[0].header, [])
        words = self.rules.errors.bad_key
        problem = (
            "is missing"
            if not given
            else "is given more than once"
            if len(given) > 1
            else "is not one of this seller's"
        )
        raise RefusalError(401, f"The API key in {self._auths[0].header} {problem}.", code=words.code, kind=words.type)


def answering(
    seller: SimulatedProvider, answer: ObjectAnswer
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler that answers with what `answer` has for the account: a response, or a value as JSON."""

    async def handler(request: web.Request) -> web.StreamResponse:
        async def reply(account: str, _fault: Fault) -> web.StreamResponse:
            got = await answer(request, account)
            return got if isinstance(got, web.StreamResponse) else json_response(200, got)

        return await seller.handle(request, "other", reply)

    return handler


def json_response(status: int, value: object, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(
        status=status, headers=headers, body=msgspec.json.encode(value), content_type="application/json"
    )


async def pause(seconds: float) -> None:
    """Sleep, if there is something to wait for."""
    if seconds > 0:
        await asyncio.sleep(seconds)
