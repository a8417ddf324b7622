"""One request as a small state machine: opened by what it says, decided by what is remembered. No gRPC, clock or Redis.

read(head, body)                ->  ChatRequest          what it says; also done elsewhere, where the body is large
                                ->  Refusal              the client is told what is wrong
Exchange(head, request, known)  ->  key                  the caller asks the memory, then calls decide()
                                ->  refusal
decide(remembered)              ->  Routing | Refusal
"""

from collections.abc import Mapping
from difflib import get_close_matches
from itertools import islice
from typing import Final

import msgspec

from limpet_extproc.contract.envoy import TRIES
from limpet_extproc.contract.reasons import WorkerRefusal
from limpet_extproc.contract.record import Record
from limpet_extproc.decision.choose import Ask, Decision, Known, choose, why
from limpet_extproc.decision.price import BYTES_PER_TOKEN, DEFAULT_OUTPUT_TOKENS, why_not_sticky
from limpet_extproc.decision.snapshot import Lane, Snapshot
from limpet_extproc.decision.steering import Steering, obey, steering
from limpet_extproc.dialects import BadRequest, ChatRequest, openai_chat, spans
from limpet_extproc.dialects.controls import KNOWN
from limpet_extproc.dialects.spans import Body
from limpet_extproc.memory import Remembered
from limpet_extproc.request import identity


class Head(msgspec.Struct, frozen=True, gc=False):
    """What Envoy says of a request besides its body. Header names are lower case."""

    path: str
    headers: Mapping[str, str]


_EMPTY: Final = "The request has no body; send a JSON object with 'model' and 'messages'."


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """The request ends here; `reason` is what the decision header says."""

    status: int
    reason: WorkerRefusal
    kind: str
    code: str | None
    param: str | None
    message: str

    def body(self) -> bytes:
        """In the shape of OpenAI's API."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return msgspec.json.encode({"error": error})


class Edits(msgspec.Struct, frozen=True, gc=False):
    """What each attempt changes of the body: the model's name where the provider has another, and what is ours."""

    model_span: spans.Span
    cuts: tuple[spans.Span, ...] = ()
    cuts_for_readers: tuple[spans.Span, ...] | None = None
    """Instead of `cuts`, where the provider reads the `provider` object itself; None: no such one is in the order."""


class Tries(msgspec.Struct, frozen=True, gc=False):
    """How each provider of the order is tried."""

    each: int = 1
    """How often, if it ends the connection without an answer."""
    stream: bool = False
    patience: int = 0
    """The level of Envoy's routes that waits as long as the most patient provider of the order may take."""
    patience_s: float | None = None
    """So long; None where a timeout is followed by the next provider."""


class Routing(msgspec.Struct, frozen=True, gc=False):
    """Where the request goes, and what its log entry will need."""

    decision: Decision
    record: Record
    edits: Edits | None
    why: str
    """For the client, should all fail; empty while nothing is known to be wrong."""
    tries: Tries = Tries()


def read(head: Head, body: Body) -> ChatRequest | Refusal:
    """What the request says, or what is wrong with it."""
    if refusal := unreadable(head):
        return refusal
    if not body:  # Of chunks without content, say; with no body at all nobody asks.
        return Refusal(400, "refused.bad_request", _INVALID, "empty_body", None, _EMPTY)
    try:
        return openai_chat.parse(body)
    except BadRequest as error:
        return bad_request(error.param, error.message)


def unreadable(head: Head) -> Refusal | None:
    """Why a body cannot be read, whatever is in it."""
    encoding = head.headers.get("content-encoding", "")
    if not encoding or encoding.lower() == "identity":
        return None
    message = f"the body is encoded as '{encoding}', and prompts are read here: send it without content-encoding"
    return Refusal(415, "refused.content_encoding", _INVALID, "unsupported_content_encoding", None, message)


def bad_request(param: str | None, message: str) -> Refusal:
    """The request cannot be understood; `param` is the field that is wrong."""
    return Refusal(400, "refused.bad_request", _INVALID, None, param, message)


class Exchange:
    """One request, whose body has `size` bytes. `secret` is the installation's key for conversation keys."""

    __slots__ = ("_lane", "_ours", "_request", "_sign", "_size", "_steering", "key", "refusal")

    def __init__(self, head: Head, request: ChatRequest, size: int, known: Snapshot, secret: bytes) -> None:
        self.key = b""
        self.refusal: Refusal | None = None
        lane = known.lanes.get(("OpenAIChat", request.model))
        if lane is None:
            self.refusal = _unknown_model(request.model, known)
            return
        self._size = size
        self._request = request
        self._lane: Lane = lane
        self._ours = known.providers
        self._steering = steering(request.controls, request.allow_fallbacks, lane, known.providers)
        self._sign, value = identity.conversation(head.headers, request, lane.policy.identity_headers)
        self.key = identity.key(secret, identity.tenant(head.headers), request.user, request.model, self._sign, value)

    def decide(self, remembered: Remembered | None, known: Known, now_s: float, coin: bytes) -> Routing | Refusal:
        """The order of providers and all that goes with it. Only for an exchange without a refusal."""
        request, lane = self._request, self._lane
        prompt_tokens = int(self._size / BYTES_PER_TOKEN)
        ask = Ask(
            lane=lane,
            key=self.key,
            prompt_tokens=prompt_tokens,
            output_tokens=min(request.max_output_tokens or DEFAULT_OUTPUT_TOKENS, DEFAULT_OUTPUT_TOKENS),
            steering=self._steering,
        )
        decision = choose(ask, remembered, known, now_s, coin)
        if not decision.order:
            return _nobody_left(lane, self._steering or Steering())
        return Routing(
            decision=decision,
            record=self._record(ask, decision, now_s),
            edits=self._edits(decision),
            why=why(decision, self._request.model, known, now_s) if known.health or known.by_model else "",
            tries=self._tries(decision.order),
        )

    def _tries(self, order: tuple[str, ...]) -> Tries:
        stream, slowest = self._request.stream, self._lane.by_provider[order[0]]
        for name in order:
            candidate = self._lane.by_provider[name]
            if candidate.patience > slowest.patience:
                slowest = candidate
        if self._lane.policy.on_timeout == "NextProvider":
            # Envoy cannot tell a timeout from a connection that ended, so it goes on at once after either.
            return Tries(1, stream, slowest.patience)
        return Tries(TRIES, stream, slowest.patience, slowest.first_byte_s if stream else slowest.unstreamed_s)

    def _record(self, ask: Ask, decision: Decision, now_s: float) -> Record:
        lane, policy = self._lane, self._lane.policy
        return Record(
            key=self.key.hex(),
            model=lane.model,
            sign=self._sign,
            unrecognised=self._unrecognised(decision),
            reason=decision.reason,
            would=decision.would,
            order=decision.order,
            ttls_s=tuple(_ttl_s(lane, name, ask.prompt_tokens) for name in decision.order),
            started_s=now_s,
            prompt_tokens=ask.prompt_tokens,
            max_providers=policy.max_providers,
            learn=policy.mode != "Off"
            and (self._steering is None or not self._steering.chooses() or policy.client_order == "StickyWithin"),
            tries=1 if policy.on_timeout == "NextProvider" else TRIES,
            excluded=dict(islice(decision.excluded.items(), _MAX_EXCLUDED)) if decision.excluded else {},
        )

    def _unrecognised(self, decision: Decision) -> bool:
        """A clock in the system prompt, a window that slides: then each turn opens, and is named, in its own way."""
        new = "first.scored" in (decision.reason, decision.would)
        return new and self._request.goes_on and self._sign == identity.FINGERPRINT

    def _edits(self, decision: Decision) -> Edits | None:
        """None when every provider of the order takes the body as it is."""
        model, ours = self._request.model, self._request.ours
        candidates = self._lane.by_provider
        if not ours and all(candidates[name].upstream_model == model for name in decision.order):
            return None
        readers = ours and any(candidates[name].reads_controls for name in decision.order)
        return Edits(self._request.model_span, spans.cuts(ours), self._cuts_for_readers() if readers else None)

    def _cuts_for_readers(self) -> tuple[spans.Span, ...]:
        """The `provider` object goes along, without the lists that name our providers.

        But `ignore` stays if it names others too: a reader may send the request on to these.
        """
        controls = self._request.controls
        lists = (
            member
            for member in (controls.lists if controls else ())
            if (all if member.name == "ignore" else any)(name in self._ours for name in getattr(controls, member.name))
        )
        ours = (member for member in self._request.ours if member.name != "provider")
        return tuple(sorted((*spans.cuts(ours), *spans.cuts(lists))))


_MAX_EXCLUDED: Final = 16

_INVALID: Final = "invalid_request_error"


def _ttl_s(lane: Lane, provider: str, prompt_tokens: int) -> float:
    candidate = lane.by_provider[provider]
    if why_not_sticky(candidate, prompt_tokens) is not None:
        return 0.0
    return lane.policy.memory_ttl_s or candidate.cache_ttl_s


def _unknown_model(model: str, known: Snapshot) -> Refusal:
    models = known.models("OpenAIChat")
    listed = ", ".join(models[:20]) + (f" and {len(models) - 20} more" if len(models) > 20 else "")
    message = f"The model '{model[:200]}' is not served here. Served are: {listed or 'none yet'}."
    return Refusal(404, "refused.unknown_model", _INVALID, "model_not_found", "model", message)


def _nobody_left(lane: Lane, asked: Steering) -> Refusal:
    """Says which demand it was, and what would leave somebody."""
    param = obey(asked, lane).left_nobody or "provider"
    serving = [candidate.provider for candidate in lane.candidates]
    said = f"'{param}' leaves nobody to serve '{lane.model}'. It is served by: {', '.join(serving)}."
    advice = _ADVICE.get(param, "")
    if param in asked.beyond and not advice:
        advice = f"Kept here are: {', '.join(KNOWN)}; other demands only by a provider of the vendor OpenRouter."
    elif param == "provider.only" and (meant := _meant(asked.only or (), serving)):
        advice = f"Did you mean '{meant}'?"
    return Refusal(400, "refused.nobody_left", _INVALID, "no_provider_left", param, f"{said} {advice}".rstrip())


_ADVICE: Final = {
    "provider.zdr": (
        "Of none that other demands leave is it known that it keeps no prompts; "
        "'spec.dataPolicy' of a Provider can say so."
    ),
    "provider.data_collection": (
        "Of none that other demands leave is it known that it does not train on prompts; "
        "'spec.dataPolicy' of a Provider can say so."
    ),
    "provider.max_price.prompt": "A price that is not known meets no limit.",
    "provider.max_price.completion": "A price that is not known meets no limit.",
}


def _meant(names: tuple[str, ...], serving: list[str]) -> str | None:
    folded = {provider.casefold(): provider for provider in serving}
    asked = [name.casefold() for name in names if len(name) <= _LONGEST_NAME]
    if same := next((name for name in asked if name in folded), None):
        return folded[same]
    among = list(islice(folded, _MOST_COMPARED))
    close = (get_close_matches(name, among, 1) for name in asked[:_MOST_MEANT])
    return next((folded[found[0]] for found in close if found), None)


_LONGEST_NAME: Final = 64
_MOST_MEANT: Final = 2
_MOST_COMPARED: Final = 32
"""Names asked for, and providers: two that are much alike take a tenth of a millisecond, in which all others wait."""
