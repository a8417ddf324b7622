"""What the planes send each other by gRPC: frozen types, a version, and their encoding.

The reader owns the contract and the writer depends on it, so the hot path can be tested without Kubernetes or Envoy's
types. A peer with another version is an error (`ContractMismatch`), and the last good catalog stays in force.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final, Literal

import msgspec

from limpet_extproc.contract.apis import DialectName
from limpet_extproc.contract.client_keys import ClientKeys
from limpet_extproc.contract.prices import Price, PriceRules

CONTRACT_VERSION: Final = 4
"""Raised when a field changes its meaning or a new one must be understood; optional additions leave it as it is."""

WATCH_METHOD: Final = "/limpet.v1.ControlPlane/Watch"
"""The one gRPC method: the data plane streams `Hello` once, then `Seen` and `EvidenceReport`; the control plane
streams `Catalog`."""

CacheControl = Literal["None", "Blocks", "TopLevel"]
"""Where a provider reads `cache_control`: nowhere, at single blocks of the prompt, or at the request itself, too."""
PromptCaching = Literal["Off", "Auto"]
Mode = Literal["Enforce", "Observe", "Off"]
FailoverPolicy = Literal["SaveRequest", "SaveCache"]
ClientOrder = Literal["Strict", "StickyWithin"]
OnTimeout = Literal["Fail", "NextProvider"]
ShownHeader = Literal["Cache", "Cost"]
Trouble = Literal["degraded", "over_limit", "down"]
"""What keeps requests from a provider; each is worse than the one before."""


UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, OverflowError)
"""What decoding raises for bytes that are no message."""


class ContractMismatch(Exception):  # noqa: N818 (says what happened)
    """The other plane speaks another version of this contract; the message says which and what to upgrade."""


class Model(msgspec.Struct, frozen=True):
    """A model as one provider serves it."""

    name: str
    """The name in clients' requests."""
    upstream_name: str
    """The provider's name for it."""
    min_tokens: int = 0
    """Prompts shorter than this are never cached there."""
    price: Price | None = None
    """Outside of all windows, of a prompt below all tiers; None: unknown, which is never the same as free."""
    cache_key: bool = False
    """Whether a `prompt_cache_key` of the conversation helps its cache: one is added where the client sent none."""
    price_rules: PriceRules = PriceRules()


class CacheFields(msgspec.Struct, frozen=True):
    """Which fields of a request about its prompt cache a provider reads. It is not sent those that it does not know."""

    cache_control: Mapping[DialectName, CacheControl] = {}
    """By the dialect of the request; a dialect that is absent has none."""
    only_marked: bool = False
    """Whether it caches nothing without `cache_control`."""
    retention: bool = False
    """Whether it reads `prompt_cache_retention` and `prompt_cache_options`."""
    cache_key_rpm: int = 0
    """Requests a minute with one `prompt_cache_key` beyond which they go to another machine; 0: no such rate."""
    free_unmarked: bool = False
    """Whether it caches without `cache_control` as well, and charges only for writes that this asks for."""


class Limits(msgspec.Struct, frozen=True):
    """How much a provider may be asked for by the whole installation; None: without a limit."""

    concurrent_requests: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """Prompt and answer together."""


class CatalogProvider(msgspec.Struct, frozen=True):
    """One account at one endpoint that Envoy already serves as the cluster of the same name."""

    name: str
    models: tuple[Model, ...]
    dialects: tuple[DialectName, ...] = ("OpenAIChat",)
    caches: bool = True
    """Whether the vendor keeps prompt prefixes at all."""
    cache_ttl_s: float = 300.0
    """How long a prefix stays warm after the start of the last request that used it."""
    weight: int = 100
    drain: bool = False
    """True: conversations that are warm here stay, new ones go elsewhere."""
    namespace: str = "default"
    """Of its Provider object; its name may begin with it, but need not."""
    zero_retention: bool | None = None
    """Whether it keeps no prompts; None: unknown, which is never the same as yes."""
    trains_on_prompts: bool | None = None
    """None: unknown, which is never the same as no."""
    reads_provider_object: bool = msgspec.field(default=False, name="reads_controls")
    """Whether it understands and obeys the `provider` object of a request, as OpenRouter does."""
    wait_level: int = msgspec.field(default=0, name="patience")
    """How long a streamed answer may be silent, as a level of Envoy's routes; a request waits as long as the slowest
    of its order."""
    unstreamed_s: float = 600.0
    """How long an answer that comes as a whole may take."""
    limits: Limits | None = None
    """What it may be asked for; None: as much as it takes."""
    always_reports_usage: bool = False
    """Whether every whole answer of this vendor carries its token usage, so that one without it is none."""
    translated: tuple[DialectName, ...] = ()
    """Dialects in which clients reach it although it does not speak them: they are translated on the way."""
    endpoints: tuple[str, ...] = ()
    """The other APIs that it serves, by `apis.Api.name`."""
    cache_fields: CacheFields = CacheFields()
    prompt_caching: PromptCaching = "Off"
    """Auto: breakpoints are added for clients that send none, where that pays."""
    stream_usage: bool = True
    """Whether `stream_options.include_usage` may be added to a request for a stream; False: it refuses the field."""
    affinity_header: str = ""
    """A header in which it takes the name of a conversation, so that its own replicas keep it; empty: none."""


class Policy(msgspec.Struct, frozen=True):
    """How conversations of the matching models stay; a namespace's own policy wins, then the most specific pattern."""

    name: str = "default"
    models: tuple[str, ...] = ("*",)
    mode: Mode = "Enforce"
    identity_headers: tuple[str, ...] = ()
    """Lower case; read before anything else that identifies a conversation."""
    memory_ttl_s: float | None = None
    """None: as long as the cache of the provider that served it."""
    max_providers: int = 4
    failover: FailoverPolicy = "SaveRequest"
    save_cache_within_s: float = 0.0
    """Under failover SaveCache: the longest wait for the warm provider before another is tried."""
    max_attempts: int = 3
    spread_within_percent: float = 25.0
    client_order: ClientOrder = "Strict"
    on_timeout: OnTimeout = "Fail"
    """Whether another provider is tried after one that did not answer in time, but may bill the request."""
    prompt_caching: PromptCaching = "Off"
    """Auto: at all providers of the matching models, as at one whose own `prompt_caching` is Auto."""
    hold_first_s: float = 0.0
    """How long a request waits at most while the first one with the same head is under way, as no cache has that head
    before its answer has begun; 0: not at all."""
    shown_headers: tuple[ShownHeader, ...] = ()
    """What responses say besides: `x-limpet-cache`, `x-limpet-cost`."""
    namespace: str | None = None
    """Holds only for models that providers of this namespace alone serve, there before all others; None: for all."""


class Catalog(msgspec.Struct, frozen=True):
    """Everything the data plane needs to decide; replaced as a whole."""

    revision: str
    """Names this state of the world; equal revisions are equal catalogs."""
    providers: tuple[CatalogProvider, ...] = ()
    policies: tuple[Policy, ...] = ()
    version: int = CONTRACT_VERSION
    client_keys: ClientKeys = ClientKeys()
    """A worker that does not know this field marks no decision as checked, so where keys count Envoy serves none."""
    debug: bool = False
    """Whether any client may ask why its requests go where they go, where keys are not looked at."""


NO_KEYS: Final = ClientKeys()


def catalog_of(
    providers: tuple[CatalogProvider, ...],
    policies: tuple[Policy, ...],
    client_keys: ClientKeys = NO_KEYS,
    *,
    debug: bool = False,
) -> Catalog:
    """A catalog whose revision is a hash of its content, so that equal ones have the same everywhere."""
    content = Catalog("", providers, policies, client_keys=client_keys, debug=debug)
    return msgspec.structs.replace(content, revision=blake2b(encode(content), digest_size=8).hexdigest())


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The data plane's first message. `node` is the Envoy beside it: only what that Envoy has is announced."""

    node: str
    version: int = CONTRACT_VERSION


class Seen(msgspec.Struct, frozen=True, tag=True):
    """The catalog that decides from now on; a provider not in it may leave Envoy after its last request."""

    revision: str


SKETCH_REGISTERS: Final = 256
"""Of a sketch of conversations; the standard error of its estimate is 6.5 %."""


class CacheUse(msgspec.Struct, frozen=True, array_like=True):
    """What a provider's prompt cache did recently, as one worker saw it."""

    prompt_tokens: int = 0
    """Of the last ten minutes."""
    cached_tokens: int = 0
    """Of these, read from the cache."""
    warm: bytes = b""
    """A sketch of the conversations that are warm there: the rank in each register. Empty: none."""


MAX_MODELS_REPORTED: Final = 32
"""Of one provider, by one worker."""


class ModelEvidence(msgspec.Struct, frozen=True, array_like=True):
    """`Evidence` about one model at a provider: the fields of the same name mean the same."""

    model: str
    """As clients name it."""
    success_s: float = 0.0
    failure_s: float = 0.0
    trouble: Trouble | None = None
    since_s: float = 0.0
    cause: str = ""
    status: int = 0
    message: str = ""
    cause_s: float = 0.0


class Evidence(msgspec.Struct, frozen=True, array_like=True):
    """What the attempts of one worker show about a provider; Unix seconds of that worker's clock, 0: never."""

    success_s: float = 0.0
    """The last answer."""
    failure_s: float = 0.0
    """The failure or 429 that keeps it out now."""
    trouble: Trouble | None = None
    since_s: float = 0.0
    """When it went out, or when the present run of answers was first noticed."""
    cache: CacheUse = CacheUse()
    """What this worker saw of its prompt cache."""
    cause: str = ""
    """What a person has to fix there, or why it is out: an `attempt.Cause`. Empty: unknown."""
    status: int = 0
    """Status of the provider's answer then; 0: none."""
    message: str = ""
    """The provider's own."""
    cause_s: float = 0.0
    """When it last answered so."""
    models: tuple["ModelEvidence", ...] = ()
    """Those there that were asked for in the last ten minutes, the worst first; at most MAX_MODELS_REPORTED. What
    concerns one model is only here, what stands above concerns the provider with all its models."""
    timeouts: int = 0
    """Attempts of the last ten minutes that this provider's timeouts ended."""


class EvidenceReport(msgspec.Struct, frozen=True, tag="Health"):
    """News about these providers; the first one on a stream covers all that the worker has evidence for."""

    providers: dict[str, Evidence]


Report = Hello | Seen | EvidenceReport
_REPORT: Final[msgspec.json.Decoder[Report]] = msgspec.json.Decoder(Report)


class _VersionOnly(msgspec.Struct):
    version: int = 0


_VERSION_ONLY = msgspec.json.Decoder(_VersionOnly)
_CATALOG = msgspec.json.Decoder(Catalog)
_ENCODER = msgspec.json.Encoder()


def encode(message: Catalog | Report) -> bytes:
    """The bytes that travel between the planes."""
    return _ENCODER.encode(message)


def decode_report(data: bytes) -> Report:
    """A message of the data plane. Raises ContractMismatch for another version or bytes that are not a report."""
    try:
        message = _REPORT.decode(data)
    except UNREADABLE as error:
        raise ContractMismatch(f"not a report of contract version {CONTRACT_VERSION}: {error}") from error
    if isinstance(message, Hello):
        _require_version(message.version, "data plane (ext_proc)", "control plane (operator)")
    return message


def decode_catalog(data: bytes) -> Catalog:
    """A catalog. Raises ContractMismatch for another version or bytes that are none; the caller keeps its own."""
    try:
        _require_version(_VERSION_ONLY.decode(data).version, "control plane (operator)", "data plane (ext_proc)")
        return _CATALOG.decode(data)
    except UNREADABLE as error:
        raise ContractMismatch(f"not a catalog of contract version {CONTRACT_VERSION}: {error}") from error


def _require_version(theirs: int, who: str, me: str) -> None:
    if theirs != CONTRACT_VERSION:
        older = who if theirs < CONTRACT_VERSION else me
        raise ContractMismatch(
            f"the {who} speaks contract version {theirs}, the {me} speaks {CONTRACT_VERSION}: upgrade the {older}"
        )
