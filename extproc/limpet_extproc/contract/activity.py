"""What workers hand over to `limpet-activity`: a record of every request, and how providers are doing.

Records hold no text of prompts or answers, no key and no id of a user: names of conversations and tenants are HMACs,
and the name of a client is the one that its key has. Nor do they hold a provider's error message, which may repeat any
of these: what went wrong is a status and a word of `contract.attempt.Cause`.

Times are Unix seconds, dollars US dollars.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from limpet_extproc.contract.apis import ApiKind
from limpet_extproc.contract.attempt import AttemptOutcome, Cause

METHOD: Final = "/limpet.activity.v1.Activity/Take"
"""gRPC, unary: an encoded ActivityBatch; the answer is empty. A batch that was taken twice counts once."""

VERSION: Final = 1
"""Of what follows. A batch of another version is refused with FAILED_PRECONDITION."""

MOST_RECORDS: Final = 500
"""In one batch."""


class TriedProvider(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One attempt at a provider."""

    provider: str
    outcome: AttemptOutcome
    status: int = 0
    """The provider's; 0: no answer came."""
    cause: Cause = ""
    begun_s: float | None = None
    """After the request had come; None: not known."""
    took_s: float | None = None
    """Until it ended; of one that failed, until the next one began."""


class ConsideredProvider(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A provider of the model, and why it was passed over, or what it would have cost there."""

    provider: str
    passed_over: str = ""
    """`contract.reasons.Exclusion`; empty: it was a candidate."""
    warm_tokens: int | None = None
    """Of the prompt, what its cache was expected to have; None: not estimated."""
    usd: float | None = None
    """For the tokens of this request and answer, with what was warm there; None: unknown."""
    warm_until_s: float = 0.0
    """Until when its cache keeps the prompt, were it served there; 0: it keeps nothing of it."""


class ActivityRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One request that has ended."""

    id: str
    """A name that the worker gives it, which no client chooses: Envoy's own may be the client's `x-request-id`."""
    time_s: float
    """When it came."""
    gateway: str
    """The id of its Envoy."""
    reason: str
    """Why it went where it went, `contract.reasons.Reason`; empty: unknown."""
    status: int
    """What the client got; 0: nothing."""
    duration_s: float
    conversation: str = ""
    """The key of its conversation, hexadecimal; empty: it belongs to none."""
    tenant: str = ""
    """An HMAC, hexadecimal; empty: unknown."""
    client: str = ""
    """The name of the client's key; empty: it has none."""
    policy: str = ""
    model: str = ""
    """As the client names it."""
    api: str = ""
    """`apis.Api.name`; empty: no worker has read the request."""
    kind: ApiKind | None = None
    identified_by: str = ""
    enforce_reason: str = ""
    """In mode Observe: the reason that Enforce would have given."""
    provider: str = ""
    """Who answered; empty: nobody."""
    attempts: Sequence[TriedProvider] = ()
    considered: Sequence[ConsideredProvider] = ()
    """In the order in which they were to be tried, then those that were passed over; the first few of very many."""
    streamed: bool = False
    first_byte_s: float | None = None
    """From the request to the first byte of the answer, or of its first token where it is streamed."""
    prompt_tokens: int | None = None
    """With all that was read from the cache or written to it; None: not reported, as the next ones."""
    cached_tokens: int | None = None
    written_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    expected_tokens: int | None = None
    """Of the prompt, what the cache of the first provider was expected to have."""
    cause: str = ""
    """Why it read from the cache what it read: `contract.reasons.CacheCause`, with its detail in parentheses."""
    paid_usd: float | None = None
    """None: no price is known, or no tokens; as the next ones. `contract.ledger` says what they mean."""
    uncached_usd: float | None = None
    spread_usd: float | None = None
    cheapest_usd: float | None = None
    path: str = ""
    """That of the API, `/v1/messages`, however the client wrote it and wherever a provider has it. Of a request that
    no worker has read: as the client wrote it, without the query, and with all that looks like a key blanked. At most
    200 characters."""
    error: str = ""
    """The field that a refusal of ours names as wrong, the limit of a key that was reached, or the cause of the last
    attempt, where it failed."""
    traceparent: str = ""
    """The client's, if it is a valid one."""
    observed_usd: float | None = None
    """In mode Observe: what it would have cost where Enforce would have sent it."""
    enforce_provider: str = ""
    """In mode Observe: where that is."""


class ShownPrice(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a model costs at a provider now, US dollars per million tokens."""

    model: str
    input: float
    output: float
    cache_read: float
    cache_write: float
    window: str = ""
    """The price window that holds; empty: none."""
    until_s: float = 0.0
    """When the price changes next; 0: never, as far as is known."""


class ProviderReport(msgspec.Struct, frozen=True, array_like=True):
    """How a provider is doing, as the worker of one gateway sees it."""

    provider: str
    verdict: str
    """`up`, `degraded`, `over_limit` or `down`."""
    cause: str = ""
    """`contract.attempt.Cause`; empty: none."""
    since_s: float = 0.0
    """Since when; 0: unknown."""
    draining: bool = False
    first_token_s: float | None = None
    """From a request to the first token, over its models the median of moving averages; None: not known, as the next
    one."""
    tokens_per_s: float | None = None
    warm_conversations: int | None = None
    prices: Sequence[ShownPrice] = ()


class ActivityBatch(msgspec.Struct, frozen=True, array_like=True):
    """What a worker hands over at once."""

    version: int
    gateway: str
    worker: int
    dropped: int
    """Records of this worker that nobody gets, since it started."""
    started_s: float
    """When this worker started: with its number and its gateway it names what `dropped` counts."""
    records: Sequence[ActivityRecord] = ()
    providers: Sequence[ProviderReport] = ()
    """All of them, once in a while and when one changes; else none."""
    sent_s: float = 0.0


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(ActivityBatch)


class BatchError(ValueError):
    """A batch that cannot be read; the text says why."""


def encode_batch(batch: ActivityBatch) -> bytes:
    """As `Take` sends it."""
    return _ENCODER.encode(batch)


def decode_batch(data: bytes) -> ActivityBatch:
    """Raises BatchError for what is no batch of this version."""
    try:
        batch = _DECODER.decode(data)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise BatchError(_why_not(data, error)) from error
    if batch.version != VERSION:
        raise BatchError(_other(batch.version))
    return batch


def _why_not(data: bytes, error: Exception) -> str:
    """What another version looks like is not known, except where it says that it is one."""
    try:
        version = msgspec.msgpack.decode(data, type=list)[0]
    except (msgspec.MsgspecError, IndexError, RecursionError):
        return f"not a batch of records: {error}"
    return f"not a batch of records: {error}" if version == VERSION else _other(version)


def _other(version: object) -> str:
    return f"a batch of version {version!r}, and this understands {VERSION}: upgrade both sides"
