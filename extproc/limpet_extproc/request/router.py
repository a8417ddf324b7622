"""What decides where requests go: the port that the server talks to, and sticky routing behind it."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from msgspec.structs import replace

from limpet_extproc.contract.apis import MOST_PATH_CHARS
from limpet_extproc.contract.record import Record
from limpet_extproc.decision.clients import Client
from limpet_extproc.decision.draws import Draws
from limpet_extproc.decision.moving import may_leave
from limpet_extproc.decision.snapshot import Snapshot
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.memory import Memory
from limpet_extproc.memory.heads import NO_HEADS, HeadMemory
from limpet_extproc.providers.events import TrialBegan
from limpet_extproc.providers.limit_events import RequestSent
from limpet_extproc.providers.limit_use import LimitUse
from limpet_extproc.providers.tracker import ProviderTracker
from limpet_extproc.request import identity
from limpet_extproc.request.beginnings import Beginnings, BegunTurn
from limpet_extproc.request.cache_keys import KeyRates
from limpet_extproc.request.clients import client_of, not_allowed, over_budget, over_limit
from limpet_extproc.request.debugging import DecisionWatch
from limpet_extproc.request.explanation import Considered
from limpet_extproc.request.hold import Sleep
from limpet_extproc.request.model_before import model_before
from limpet_extproc.request.object_routing import ObjectRouting
from limpet_extproc.request.opened import Opened, open_request
from limpet_extproc.request.parsing import RequestHead, unreadable
from limpet_extproc.request.pins import Pins
from limpet_extproc.request.reading import CheckTranslation, FindReferences, ReadRequest
from limpet_extproc.request.refusals import long_path
from limpet_extproc.request.routing import Routing, decide
from limpet_extproc.request.shared_heads import Held, SharedHeads


class Router(Protocol):
    """Decides where a request goes."""

    async def route(self, head: RequestHead, body: bytes | memoryview) -> Routing | Refusal:
        """Where this one goes, or why nowhere."""


class StickyRouting:
    """Limpet's own router: looks the conversation up, decides, and notes what is under way."""

    def __init__(
        self,
        read: ReadRequest,
        snapshot: Callable[[], Snapshot],
        memory: Memory,
        heads: HeadMemory,
        tracker: ProviderTracker,
        limit_use: LimitUse,
        pins: Pins,
        secret: bytes,
        clock: Callable[[], float],
        random_seed: Callable[[], bytes],
        untranslatable: CheckTranslation,
        references: FindReferences,
        sleep: Sleep = asyncio.sleep,
        held: Held = lambda _end, _seconds: None,
        spent_usd: Callable[[str], float] = lambda _client: 0.0,
    ) -> None:
        """`spent_usd`: what a client, by its name, has spent today."""
        self._read = read
        self._untranslatable = untranslatable
        self._snapshot = snapshot
        self._memory = memory
        self._heads = SharedHeads(heads, clock, sleep, held)
        self._tracker = tracker
        self._limit_use = limit_use
        self._spent_usd = spent_usd
        self._secret = secret
        self._clock = clock
        self._random_seed = random_seed
        self._key_rates = KeyRates()
        self._beginnings = Beginnings()
        self._draws = Draws()
        self._objects = ObjectRouting(read, references, snapshot, pins, secret)

    async def route(
        self, head: RequestHead, body: bytes | memoryview, watch: DecisionWatch | None = None
    ) -> Routing | Refusal:
        """See `Router`. `watch` takes down what it is decided by."""
        if len(head.headers.get(":path", "")) > MOST_PATH_CHARS:
            return long_path()
        clients = self._snapshot().clients
        if clients.mode != "Off":
            client = client_of(head.headers, clients)
            if isinstance(client, Refusal):
                return client
            head = replace(head, client=client)
        return await self._routed(head, body, watch)

    async def _routed(
        self, head: RequestHead, body: bytes | memoryview, watch: DecisionWatch | None
    ) -> Routing | Refusal:
        opened = await (self._objects.open if head.api.kind == "object" else self._opened)(head, body)
        if isinstance(opened, Refusal):
            return opened
        key, now_s = opened.query.key, self._clock()
        if head.client is not None and (refusal := self._beyond(head.client, opened, now_s)):
            return refusal
        known = opened.query.stays and not opened.query.pinned
        alone = watch is not None and watch.alone
        remembered = await self._memory.lookup(key, now_s, peek=alone) if known else None
        unknown = known and (remembered is None or not (remembered.warm or remembered.pending))
        cold = unknown or (remembered is not None and remembered.is_over(now_s))
        asks = cold or (remembered is not None and may_leave(opened.query, remembered, self._tracker.states))
        heads = await self._heads.known(opened.query, now_s, waits=cold and not alone) if asks else NO_HEADS
        now_s = self._clock() if heads else now_s
        if asks and head.client is not None and (refusal := self._beyond(head.client, opened, self._clock())):
            return refusal  # Others have been counted while this one was held.
        rates = self._key_rates
        before = (rates.before if alone else rates.count)(key, now_s) if opened.query.lane.adds_keys else 0
        last_model = ""
        if known and remembered is None and opened.query.has_history:
            last_model = await model_before(opened, self._snapshot(), self._memory, self._secret, now_s, peek=alone)
        # In mode Enforce a conversation's own key does, and most requests are turns of one.
        by_key = opened.query.stays and opened.query.lane.policy.mode == "Enforce"
        states, seed = self._tracker.states, b"" if by_key else self._random_seed()
        routing = decide(opened, remembered, states, now_s, seed, before, last_model, heads, self._draws)
        if watch is not None:
            watch.considered = Considered(opened, remembered, states, heads, now_s)
            if alone:
                return routing
        if isinstance(routing, Routing):
            decision, record = routing.decision, routing.record
            first = opened.query.lane.by_provider[decision.order[0]]
            self._count(first.provider if first.limits is not None else "", head.client, record)
            if decision.trial and record.model:
                self._tracker.apply(TrialBegan(decision.order[0], record.model))
            if unknown and record.learn and record.ttls_s[0] > 0:
                self._memory.expect(key, first.provider, now_s)
                self._heads.expect(opened.query, first.provider, heads, now_s)
                routing = replace(routing, record=replace(record, expected=True))
        return routing

    def _count(self, limited_provider: str, client: Client | None, record: Record) -> None:
        """Among what has been used of limits."""
        tokens = record.prompt_tokens + record.output_tokens
        if limited_provider:
            self._limit_use.apply(RequestSent(limited_provider, record.started_s, tokens))
        if client is not None and client.limits is not None:
            self._limit_use.apply(RequestSent(client.use, record.started_s, tokens))

    def _beyond(self, client: Client, opened: Opened, now_s: float) -> Refusal | None:
        """Why this client has to wait."""
        refusal = None
        if client.limits is not None:
            tokens = opened.query.prompt_tokens + opened.query.output_tokens
            use, counted = client.use, self._limit_use
            refusal = over_limit(
                client,
                counted.used(use, now_s),
                tokens,
                lambda limits: counted.room_in_s(use, limits, tokens, now_s),
            )
        if refusal is None and client.usd_per_day is not None:
            refusal = over_budget(client, self._spent_usd(client.name), now_s)
        return None if refusal is None else replace(refusal, model=opened.query.lane.model)

    async def _opened(self, head: RequestHead, body: bytes | memoryview) -> Opened | Refusal:
        """The request with its lane, and its conversation if it has one."""
        turn = self._turn(head, body)
        request = None if turn is None else turn.request
        if request is None:
            read = await self._read(head, body)
            if isinstance(read, Refusal):
                return read
            request = read
        if head.client is not None and (refusal := not_allowed(head.client, request.model)):
            return refusal
        snapshot = self._snapshot()
        found = None
        if snapshot.translates:
            lane = snapshot.lanes.get((head.api.name, request.model))
            found = await self._untranslatable(body) if lane is not None and lane.translates else None
        opened = open_request(head, request, body, snapshot, self._secret, found, turn)
        if isinstance(opened, Refusal):
            return opened
        names_objects = snapshot.keeps_objects or head.api.name == "OpenAIResponses"
        return await self._objects.of_turn(opened) if names_objects else opened

    def _turn(self, head: RequestHead, body: bytes | memoryview) -> BegunTurn | None:
        """What is known of what it begins with."""
        if head.api.kind != "conversation" or unreadable(head) is not None:
            return None
        whose = identity.tenant(head.headers, head.client)
        return self._beginnings.turn(body, identity.beginning_seed(self._secret, whose, head.api.name, head.asked))
