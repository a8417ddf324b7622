"""What a gateway says about one decision when it is asked: `limpet explain`, and the header `x-limpet-explain`.

No prompt text, no name that a client gave, no key, no address of a provider. Times are Unix seconds, dollars US
dollars.
"""

import json
from typing import Any, Final

import msgspec

from limpet_extproc.contract.apis import ApiKind
from limpet_extproc.contract.catalog import Mode

MOST_HEADER_CHARS: Final = 4096


class ExplainedRefusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why the request would go nowhere, as its client would be told."""

    status: int
    reason: str
    message: str
    param: str = ""


class ExplainedIdentity(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which conversation the request belongs to."""

    key: str
    """An HMAC, hexadecimal, of the name or the opening by which it was recognised; of a request that belongs to no
    conversation, of the request."""
    identified_by: str = ""
    """Which rung of the ladder: `x-session-id`, `fingerprint`, …; empty: the API has no conversations."""
    tenant: str = ""
    """An HMAC, hexadecimal; empty: the client sent no key."""
    client: str = ""
    """The name of the client's key of ours; empty: it has none."""
    unrecognised: bool = False
    """Whether it has earlier turns but nothing is remembered, so that its opening may change from turn to turn."""


class ExplainedPrompt(msgspec.Struct, frozen=True, omit_defaults=True):
    """The prompt, as far as prompt caches care."""

    tokens: int
    """Estimated, by the last turn's count where one is remembered."""
    output_tokens: int
    """Of the answer that is expected, as all dollars count it: as long as those before, or as a limit of the client."""
    boundaries: int = 0
    """After the tools, after the system prompt, after each message; 0: not looked at."""
    shared_heads: int = 0
    """Beginnings that other conversations may have too."""
    changed_at: str = ""
    """Where it departs from the prompt of the last turn: `tools`, `system`, `message 7`; empty: nowhere."""
    compared: bool = False
    """Whether it was compared with that prompt."""


class ExplainedPlace(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the conversation is remembered to be warm."""

    provider: str
    until_s: float
    tokens: int = 0
    """Of the prompt that was sent there last."""
    over: bool = False
    """Whether that time has passed."""


class ExplainedMemory(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered of the conversation."""

    places: tuple[ExplainedPlace, ...] = ()
    """The newest first: there it sticks."""
    pending: str = ""
    """A provider that its first request is on its way to."""
    failed: tuple[str, ...] = ()
    """Those that failed its last request, less than a minute ago."""
    turns: int = 0
    """That were served."""
    gap_s: float = 0.0
    """From turn to turn, on average."""
    growth_tokens: float = 0.0
    """By which its prompt grows from turn to turn."""
    last_read: str = ""
    """What the last turn read from a cache, or why it did not: `contract.reasons.CacheCause`."""


class ExplainedOutlook(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the conversation is expected to go on, where that counts."""

    further_turns: float
    gap_s: float
    growth_tokens: float
    output_tokens: float
    """Of each answer."""


class ExplainedEdits(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the body differs that a provider gets, by the names of fields."""

    model: str = ""
    """What the model is called there; empty: as the client calls it."""
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()


class ExplainedCandidate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A provider of the model."""

    provider: str
    place: int = 0
    """In the order, from 1 on; 0: it is not tried."""
    passed_over: str = ""
    """`contract.reasons.Exclusion`; empty: it was a candidate."""
    trouble: str = ""
    """`degraded`, `over_limit` or `down`; empty: it is well."""
    priced: bool = True
    """False: nobody knows its price, and it counts as the dearest."""
    warm_tokens: int = 0
    """Of this prompt, what its cache should have."""
    coming: bool = False
    """Whether they will be there only when another request has begun to be answered."""
    warm_until_s: float = 0.0
    """Until when it has the conversation itself; 0: it does not."""
    uncached_usd: float = 0.0
    """For the tokens of the prompt that it neither reads from its cache nor writes there."""
    read_usd: float = 0.0
    write_usd: float = 0.0
    output_usd: float = 0.0
    request_usd: float | None = None
    """All four, or what an unknown price counts as."""
    stays_usd: float | None = None
    """What the conversation is expected to cost from here on if it stays there; None: that did not count, as the
    next."""
    leaves_usd: float | None = None
    """If it goes there for this request alone."""
    factor: float = 1.0
    """What a dollar counts as there, by errors and slow answers: 1 to 3 and more."""
    score: float | None = None
    """By which it was compared: dollars times the factor; None: it was not."""
    near: bool = False
    """Whether it is one of the near-equals among which new conversations are spread."""
    lifetime_s: float = 0.0
    """How long its cache would keep this prompt; 0: it would keep nothing that pays."""
    unsticky: str = ""
    """Why staying there would not pay: `contract.reasons.UnstickyReason`."""
    edits: ExplainedEdits | None = None


class ExplainedSending(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the providers are tried."""

    tries_each: int
    """How often one that ends the connection without an answer."""
    next_after_s: float | None = None
    """How long the first may take for a whole answer before the next one is tried; None: its own timeout ends it."""
    save_cache_s: float = 0.0
    """How long a limited first one may be waited for."""
    hold_s: float = 0.0
    """How long it may wait for another request that brings its beginning to a cache."""


class ExplainedKeeping(msgspec.Struct, frozen=True, omit_defaults=True):
    """What would be remembered if the first of the order answers."""

    provider: str = ""
    """Empty: nothing."""
    for_s: float = 0.0
    why_not: str = ""
    """`mode_off`, `client_steers`, `no_conversation`, or `contract.reasons.UnstickyReason`."""


class Explanation(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a request goes where it goes."""

    reason: str
    """`contract.reasons`: of the decision, or of the refusal."""
    api: str
    model: str = ""
    kind: ApiKind | None = None
    enforce_reason: str = ""
    """In mode Observe: the reason that Enforce would have given."""
    enforce_provider: str = ""
    """In mode Observe: where Enforce would have sent it."""
    order: tuple[str, ...] = ()
    refused: ExplainedRefusal | None = None
    policy: str = ""
    mode: Mode | None = None
    identity: ExplainedIdentity | None = None
    prompt: ExplainedPrompt | None = None
    memory: ExplainedMemory | None = None
    outlook: ExplainedOutlook | None = None
    margin: float = 0.0
    """By which part another provider has to be cheaper, for a warm conversation to move there; 0: it did not count."""
    candidates: tuple[ExplainedCandidate, ...] = ()
    """In the order, then the others by name."""
    problems: str = ""
    """What is wrong with providers."""
    sending: ExplainedSending | None = None
    keeping: ExplainedKeeping | None = None
    at_s: float = 0.0
    left_out: str = ""
    """What there was no room for in a header."""


_DECODER: Final = msgspec.json.Decoder(Explanation)


class NoExplanationError(ValueError):
    """It is not an explanation."""


def encode(explanation: Explanation) -> str:
    """As JSON in ASCII, so that it can stand in a header."""
    return _ascii(msgspec.to_builtins(explanation))


def decode(data: bytes | str) -> Explanation:
    """Raises NoExplanationError."""
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NoExplanationError(str(error)) from error


def in_header(explanation: Explanation, most: int = MOST_HEADER_CHARS) -> str:
    """The same in at most so many characters: parts are left out where it would be longer, the least needed first.

    `left_out` says which.
    """
    text = encode(explanation)
    left_out: list[str] = []
    for name, reduced in _REDUCTIONS:
        if len(text) <= most:
            return text
        left_out.append(name)
        explanation = msgspec.structs.replace(reduced(explanation), left_out=", ".join(left_out))
        text = encode(explanation)
    while len(text) > most and explanation.candidates:
        # The last ones would be tried last, or not at all.
        kept = explanation.candidates[: len(explanation.candidates) * 3 // 4]
        explanation = msgspec.structs.replace(explanation, candidates=kept, left_out=", ".join((*left_out, _SOME)))
        text = encode(explanation)
    if len(text) <= most:
        return text
    shortened = Explanation(explanation.reason[:80], explanation.api[:80], left_out="all but the reason")
    return encode(shortened)


_SOME: Final = "some candidates"


def _without_edits(explanation: Explanation) -> Explanation:
    candidates = tuple(msgspec.structs.replace(each, edits=None) for each in explanation.candidates)
    return msgspec.structs.replace(explanation, candidates=candidates)


def _without_parts(explanation: Explanation) -> Explanation:
    parts = {"uncached_usd": 0.0, "read_usd": 0.0, "write_usd": 0.0, "output_usd": 0.0, "lifetime_s": 0.0}
    candidates = tuple(msgspec.structs.replace(each, **parts) for each in explanation.candidates)
    return msgspec.structs.replace(explanation, candidates=candidates)


_REDUCTIONS: Final = (
    ("edits", _without_edits),
    ("problems", lambda each: msgspec.structs.replace(each, problems="")),
    ("parts of costs", _without_parts),
    ("outlook and sending", lambda each: msgspec.structs.replace(each, outlook=None, sending=None)),
)


def _ascii(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))
