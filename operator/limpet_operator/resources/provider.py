"""Provider: an account at an LLM endpoint, with the vendor's preset filled in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from limpet_extproc.contract.apis import DialectName
from limpet_extproc.contract.catalog import CacheFields, Limits, PromptCaching
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.resources.proxy import ProxyChoice
from limpet_operator.resources.url import Url
from limpet_operator.resources.vendors import PromptCacheRules


@dataclass(frozen=True, slots=True)
class SecretKeyRef:
    """A key in a Secret of the Provider's namespace."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class EnvVar:
    """An environment variable of the operator's process: for a laptop."""

    name: str


@dataclass(frozen=True, slots=True)
class Credential:
    """Where the API key comes from and how it is sent: `header: prefix + key`, prefix being "Bearer " or ""."""

    source: SecretKeyRef | EnvVar
    header: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that the parts of one attempt may take."""

    connect_s: float
    first_byte_s: float
    """Of a streamed answer."""
    idle_s: float
    unstreamed_s: float = 600.0
    """Until an answer that comes as a whole begins, which is when it is complete. The SDKs wait as long by default."""


@dataclass(frozen=True, slots=True)
class CaCertificateRef:
    """Where the PEM certificates of a private authority are, in the Provider's namespace."""

    kind: Literal["ConfigMap", "Secret"]
    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Tls:
    """What differs from a public certificate for the url's host; None where nothing does."""

    ca: CaCertificateRef | None
    server_name: str | None


@dataclass(frozen=True, slots=True)
class SetHeader:
    """A header of every request to the provider, whatever the client sent under that name."""

    name: str
    value: str | SecretKeyRef


@dataclass(frozen=True, slots=True)
class Headers:
    """Headers besides those that every provider gets. All names are in lower case."""

    passed: tuple[str, ...] = ()
    set: tuple[SetHeader, ...] = ()

    @property
    def secret(self) -> tuple[tuple[SetHeader, SecretKeyRef], ...]:
        """Those that are set from a Secret."""
        return tuple((header, header.value) for header in self.set if isinstance(header.value, SecretKeyRef))


@dataclass(frozen=True, slots=True)
class DataPolicy:
    """What happens to prompts there; None: not stated, which meets no client's demand."""

    zero_retention: bool | None
    trains_on_prompts: bool | None


@dataclass(frozen=True, slots=True)
class ProviderModel:
    """A model as it is served here; shorter prompts than `min_tokens` are not cached."""

    name: str
    upstream_name: str
    min_tokens: int
    cache_key: bool = False
    """Whether a `prompt_cache_key` of the conversation is added where the client sent none."""


ResponseModel = Literal["Requested", "Upstream"]
"""Which name of the model an answer carries: the one that the client asked for, or the provider's own."""


@dataclass(frozen=True, slots=True)
class Provider:
    """Everything about a provider that does not depend on other objects."""

    key: ObjectKey
    generation: int
    labels: Mapping[str, str]
    vendor: str
    url: Url
    credential: Credential | None
    models: tuple[ProviderModel, ...]
    dialects: tuple[DialectName, ...]
    headers: Headers
    vendor_headers: tuple[str, ...]
    """What the vendor's preset adds to `headers.passed`."""
    passed_query: tuple[str, ...]
    """Parameters of the client's query that are passed on, including the preset's."""
    cache: PromptCacheRules
    tls: Tls | None
    proxy: ProxyChoice | None
    """None: the gateway's settings apply."""
    timeouts: Timeouts
    usual_timeouts: Timeouts
    """What applies where the Provider sets none."""
    limits: Limits | None
    weight: int
    drain: bool
    data_policy: DataPolicy
    reads_provider_object: bool
    """Whether it understands and obeys the `provider` object of a request."""
    always_reports_usage: bool
    """Whether every whole answer carries its token usage."""
    unused_fields: tuple[str, ...] = ()
    """Messages about fields that are set and have no effect."""
    idle_connection_s: float = 50.0
    """How long an unused connection is kept."""
    answer_limit: str = "max_tokens"
    """The field of a chat completion that bounds the length of its answer."""
    paths: Mapping[DialectName, str] = field(default_factory=dict)
    """Where a dialect begins that does not begin at `url`."""
    endpoints: tuple[str, ...] = ()
    """The other APIs that it serves, by the first part of their paths after /v1."""
    cache_fields: CacheFields = field(default_factory=CacheFields)
    prompt_caching: PromptCaching = "Off"
    stream_usage: bool = True
    """Whether `stream_options.include_usage` may be asked for."""
    user_id: bool = True
    """Whether translation writes `metadata.user_id`."""
    affinity_header: str = ""
    """A header that takes the name of a conversation; empty: none."""
    response_model: ResponseModel = "Requested"

    @property
    def translated(self) -> tuple[DialectName, ...]:
        """The dialects in which clients reach it although it does not speak them."""
        return ("OpenAIChat",) if "OpenAIChat" not in self.dialects and "AnthropicMessages" in self.dialects else ()

    def prefix_of(self, dialect: DialectName) -> str:
        """What stands at the vendor where the client's path has `/v1`."""
        return self.paths.get(dialect, self.url.path_prefix)
