"""The decision record: what a request takes along to its access log entry.

So nothing is kept in between and any worker can read it. No text, no names of people: the key is an HMAC.
"""

from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping
from typing import Final

import msgspec

from limpet_extproc.contract.apis import ApiKind


class CacheEvidence(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was known of the prompt caches when a request was decided: why its tokens are read from one, or are not."""

    expected: tuple[int, ...] = ()
    """For each of the order: how many tokens of the prompt its cache should have."""
    before: str = ""
    """The provider of the conversation's last turn; empty: there was none that is remembered."""
    before_tokens: int = 0
    """Of the prompt of that turn, what its cache should have since."""
    before_until_s: float = 0.0
    """Until when its cache should have kept that; without `before`: until when any cache kept what is remembered of
    the conversation. 0: nothing is."""
    changed_at: str = ""
    """Where this prompt departs from that one: `tools`, `system`, `message 7`; empty: nowhere."""
    model_before: str = ""
    """The model of the conversation's last turn, where that was another one."""
    parallel: tuple[bool, ...] = ()
    """For each of the order: whether the first request with this beginning was under way there; empty: nowhere."""
    no_breakpoint: tuple[bool, ...] = ()
    """For each of the order: whether it caches nothing of this prompt for want of a breakpoint; empty: none."""
    min_tokens: tuple[int, ...] = ()
    """For each of the order: the shortest prompt that it caches; empty: any."""
    compared: bool = False
    """Whether this prompt was compared with that of the last turn; else `changed_at` and the next two say nothing."""
    shared_tokens: int = 0
    """Of this prompt, up to where it departs from that one; estimated."""
    changed_tokens: int = 0
    """Of this prompt, up to the end of what has changed: its cache has no more of it, whatever it compares by."""
    goes_on: bool = False
    """Whether the conversation has earlier turns, remembered or not."""
    asked_alike: bool = False
    """Whether all else that the request asks for is as in the last turn, of which caches may depend on some, and its
    breakpoints reach back to that turn's."""
    added_tokens: int = 0
    """Of this prompt, at least that much is of this turn; estimated."""


class TurnsBefore(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How a conversation had gone on before a request: what other rules than ours would have found warm."""

    turns: int = 0
    """That were served; 0 also where nothing is remembered of them."""
    last_gap_s: float = 0.0
    """From the start of the last one to that of this request; whole seconds, rounded up."""
    gap_s: float = 0.0
    """From the start of a turn to that of the next, on average, rounded up; 0: there was one turn."""
    growth_tokens: float = 0.0
    """By which the prompt grew from turn to turn, on average."""
    head_tokens: int = 0
    """Of this prompt: its beginning that other conversations keep warm."""


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Travels as dynamic metadata inside Envoy only."""

    key: bytes
    """The conversation; of a request that belongs to none, the request itself."""
    model: str
    identified_by: str
    """How the conversation was recognised: `fingerprint`, `x-session-id` and so on; empty: there is none."""
    reason: str
    enforce_reason: str | None
    order: tuple[str, ...]
    ttls_s: tuple[float, ...]
    """For each of the order: how long its cache stays warm from `started_s` on; 0 where staying would not pay."""
    started_s: float
    """Wall clock at the decision; lifetimes count from the start of a request, not from its end."""
    prompt_tokens: int
    """Estimated."""
    max_providers: int
    learn: bool
    """Whether the outcome may be remembered: not in mode Off, nor where the client steers and stickiness has no say."""
    tries: int = 1
    """How often each of the order is asked that ends the connection without an answer."""
    output_tokens: int = 0
    """Expected."""
    streamed: bool = False
    """Whether the client asked for a stream."""
    chain: bytes = b""
    """Of the prompt (`decision.prefix.Chain.hashes`)."""
    settings: bytes = b""
    """A hash of all else that the request asks for."""
    heads: bytes = b""
    """Of the prompt, the hashes of its heads one after the other."""
    tenant: str = ""
    """Whose request it is: an HMAC, hexadecimal."""
    client: str = ""
    """The name of the client's key; empty: it has none."""
    policy: str = ""
    """Its name."""
    cache: CacheEvidence = CacheEvidence()
    before: TurnsBefore = TurnsBefore()
    expected: bool = False
    """Whether the conversation was noted as on its way to the first of the order; the outcome ends that."""
    traceparent: str = ""
    """The client's, as it came."""
    api: str = "OpenAIChat"
    """`apis.Api.name`."""
    kind: ApiKind = "conversation"
    """Only the turns of conversations are expected to report usage, and to take about as long as each other."""
    excluded: Mapping[str, str] = {}
    """Providers of the model that were passed over, each with the reason; the first few where there are very many."""
    unrecognised: bool = False
    """Whether it has earlier turns but was not recognised: its opening messages seem to change from turn to turn."""
    owner: str = ""
    """Whose objects the answer may make, hexadecimal; empty: it makes none."""
    service_tier: str = ""
    """The one that the request names, if any price depends on it; else empty."""
    enforce_provider: str = ""
    """In mode Observe: who would have been tried first in mode Enforce."""


_DECODER: Final = msgspec.msgpack.Decoder(Record)
_ENCODER: Final = msgspec.msgpack.Encoder()

_FIELDS: Final = msgspec.structs.fields(Record)
_MOSTLY_SO: Final = [field.name for field in _FIELDS].index("api")
"""From this field on, nearly all records have the defaults, which need not travel."""
_USUAL_END: Final = b"".join(
    [_ENCODER.encode({} if field.name == "excluded" else field.default) for field in _FIELDS[_MOSTLY_SO:]]
)
_WHOLE: Final = len(_ENCODER.encode([None] * len(_FIELDS))) - len(_FIELDS)
"""Bytes that go before a record of all fields: they say how many."""
_SHORTER: Final = _ENCODER.encode([None] * _MOSTLY_SO)[:-_MOSTLY_SO]
"""Goes before one without that end."""


def encode(record: Record) -> str:
    """As a string, because metadata takes nothing else, and a short one: Envoy copies it several times."""
    written = _ENCODER.encode(record)
    if written.endswith(_USUAL_END):
        written = _SHORTER + written[_WHOLE : -len(_USUAL_END)]
    return b2a_base64(written, newline=False).decode()


def decode(text: str) -> Record | None:
    """None for what another version wrote; such an outcome teaches nothing."""
    try:
        return _DECODER.decode(a2b_base64(text))
    except (msgspec.MsgspecError, ValueError):
        return None
