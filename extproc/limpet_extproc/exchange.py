"""One request as a small state machine: opened by its body, decided by what is remembered. No gRPC, no clock, no Redis.

Exchange(head, body)  ->  Lookup(key)          the caller asks the memory, then calls decide()
                      ->  Refusal              the client is told what is wrong
decide(remembered)    ->  Routing | Refusal
"""

from collections.abc import Mapping
from itertools import islice
from typing import Final, Literal

import msgspec

from limpet_extproc import identity, spans
from limpet_extproc.choose import Ask, Decision, Known, Steering, choose, why
from limpet_extproc.dialects import BadRequest, ChatRequest, openai_chat
from limpet_extproc.memory import Remembered
from limpet_extproc.price import BYTES_PER_TOKEN, DEFAULT_OUTPUT_TOKENS, why_not_sticky
from limpet_extproc.record import Record
from limpet_extproc.snapshot import Lane, Snapshot

_OURS: Final = frozenset({"provider", "allow_fallbacks", "session_id"})
"""Fields meant for us; a provider may refuse a request that has them."""


Refused = Literal["refused.bad_request", "refused.content_encoding", "refused.nobody_left", "refused.unknown_model"]
"""Why a request was not routed; beside `Reason` the other half of what the decision header says (docs/reasons.md)."""


class Head(msgspec.Struct, frozen=True, gc=False):
    """What Envoy says of a request besides its body. Header names are lower case."""

    path: str
    headers: Mapping[str, str]


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """The request ends here; `reason` is what the decision header says."""

    status: int
    reason: Refused
    kind: str
    code: str | None
    param: str | None
    message: str

    def body(self) -> bytes:
        """In the shape of OpenAI's API."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": error})


class Edits(msgspec.Struct, frozen=True, gc=False):
    """What each attempt changes of the body: the model's name where the provider has another, and cuts for all."""

    model_span: spans.Span
    cuts: tuple[spans.Span, ...] = ()


class Routing(msgspec.Struct, frozen=True, gc=False):
    """Where the request goes, and what its log entry will need."""

    decision: Decision
    record: Record
    edits: Edits | None
    why: str
    """For the client, should all fail; empty while nothing is known to be wrong."""


class Exchange:
    """One request. `secret` is the installation's key for conversation keys."""

    __slots__ = ("_body", "_lane", "_request", "_sign", "_steering", "key", "refusal")

    def __init__(self, head: Head, body: bytes, known: Snapshot, secret: bytes) -> None:
        self._body = body
        self.key = b""
        self.refusal: Refusal | None = None
        try:
            self._open(head, body, known, secret)
        except BadRequest as error:
            self.refusal = _bad_request(error)

    def _open(self, head: Head, body: bytes, known: Snapshot, secret: bytes) -> None:
        encoding = head.headers.get("content-encoding", "")
        if encoding and encoding.lower() != "identity":
            message = (
                f"the body is encoded as '{encoding}', and prompts are read here: send it without content-encoding"
            )
            self.refusal = Refusal(
                415, "refused.content_encoding", _INVALID, "unsupported_content_encoding", None, message
            )
            return
        request = openai_chat.parse(body)
        lane = known.lanes.get(("OpenAIChat", request.model))
        if lane is None:
            self.refusal = _unknown_model(request.model, known)
            return
        self._request: ChatRequest = request
        self._lane: Lane = lane
        self._steering = _steering(request)
        self._sign, value = identity.conversation(head.headers, request, lane.policy.identity_headers)
        self.key = identity.key(secret, identity.tenant(head.headers), request.user, request.model, self._sign, value)

    def decide(self, remembered: Remembered | None, known: Known, now_s: float, coin: bytes) -> Routing | Refusal:
        """The order of providers and all that goes with it. Only for an exchange without a refusal."""
        request, lane = self._request, self._lane
        prompt_tokens = int(len(self._body) / BYTES_PER_TOKEN)
        ask = Ask(
            lane=lane,
            key=self.key,
            prompt_tokens=prompt_tokens,
            output_tokens=min(request.max_output_tokens or DEFAULT_OUTPUT_TOKENS, DEFAULT_OUTPUT_TOKENS),
            steering=self._steering,
        )
        decision = choose(ask, remembered, known, now_s, coin)
        if not decision.order:
            return _nobody_left(request.model, lane)
        edits = self._edits(decision)
        if isinstance(edits, Refusal):
            return edits
        return Routing(
            decision=decision,
            record=self._record(ask, decision, now_s),
            edits=edits,
            why=why(decision, known.health, now_s) if known.health else "",
        )

    def _record(self, ask: Ask, decision: Decision, now_s: float) -> Record:
        lane, policy = self._lane, self._lane.policy
        return Record(
            key=self.key.hex(),
            model=lane.model,
            sign=self._sign,
            reason=decision.reason,
            would=decision.would,
            order=decision.order,
            ttls_s=tuple(_ttl_s(lane, name, ask.prompt_tokens) for name in decision.order),
            started_s=now_s,
            prompt_tokens=ask.prompt_tokens,
            max_providers=policy.max_providers,
            learn=policy.mode != "Off" and (self._steering is None or policy.client_order == "StickyWithin"),
            excluded=dict(islice(decision.excluded.items(), _MAX_EXCLUDED)) if decision.excluded else {},
        )

    def _edits(self, decision: Decision) -> Edits | Refusal | None:
        """None when every provider of the order takes the body as it is."""
        model = self._request.model
        candidates = self._lane.by_provider
        renamed = any(candidates[name].upstream_model != model for name in decision.order)
        ours = self._request.has_ours
        if not renamed and not ours:
            return None
        span = spans.model_span(self._body)
        if span is None:
            return Refusal(
                400, "refused.bad_request", _INVALID, None, "model", "the body has the key 'model' more than once"
            )
        return Edits(span, tuple(spans.cuts(self._body, _OURS)) if ours else ())


_MAX_EXCLUDED: Final = 16

_INVALID: Final = "invalid_request_error"


def _ttl_s(lane: Lane, provider: str, prompt_tokens: int) -> float:
    candidate = lane.by_provider[provider]
    if why_not_sticky(candidate, prompt_tokens) is not None:
        return 0.0
    return lane.policy.memory_ttl_s or candidate.cache_ttl_s


def _steering(request: ChatRequest) -> Steering | None:
    """None unless the client really steers: an empty object or list, or fallbacks allowed, demands nothing."""
    controls = request.controls
    allow = request.allow_fallbacks
    if controls is None:
        return None if allow in (None, True) else Steering(allow_fallbacks=False)
    if controls.allow_fallbacks is not None:
        allow = controls.allow_fallbacks
    steering = Steering(
        controls.order or (), controls.only or None, controls.ignore or (), controls.sort, allow is not False
    )
    return None if steering == Steering() else steering


def _bad_request(error: BadRequest) -> Refusal:
    return Refusal(400, "refused.bad_request", _INVALID, None, error.param, error.message)


def _unknown_model(model: str, known: Snapshot) -> Refusal:
    models = known.models("OpenAIChat")
    listed = ", ".join(models[:20]) + (f" and {len(models) - 20} more" if len(models) > 20 else "")
    message = f"The model '{model[:200]}' is not served here. Served are: {listed or 'none yet'}."
    return Refusal(404, "refused.unknown_model", _INVALID, "model_not_found", "model", message)


def _nobody_left(model: str, lane: Lane) -> Refusal:
    serving = ", ".join(candidate.provider for candidate in lane.candidates)
    message = f"'provider' leaves nobody to serve '{model}'. It is served by: {serving}."
    return Refusal(400, "refused.nobody_left", _INVALID, "no_provider_left", "provider", message)
