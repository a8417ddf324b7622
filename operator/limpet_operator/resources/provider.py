"""Provider: an account at an LLM endpoint, with the vendor's preset filled in."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from limpet_extproc.contract.apis import DialectName
from limpet_extproc.contract.catalog import CacheFields, Limits, PromptCaching
from limpet_operator.resources.durations import parse_duration
from limpet_operator.resources.metadata import read_object
from limpet_operator.resources.problem import Invalid, ObjectKey, Problem
from limpet_operator.resources.proxy import ProxyChoice, parse_proxy
from limpet_operator.resources.schema import KindSchema
from limpet_operator.resources.unused_fields import unused_fields
from limpet_operator.resources.url import Url, parse_url
from limpet_operator.resources.vendors import PromptCacheRules, Vendor


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


_USUAL_TIMEOUTS: Final = {"connect": "2s", "unstreamed": "10m", "idle": "120s"}
"""The schema's defaults."""


def parse_provider(raw: Mapping[str, Any], schema: KindSchema, vendors: Mapping[str, Vendor]) -> Provider | Invalid:
    """Reads a Provider; the schema has defaults and rules, the vendor's preset supplies the rest."""
    read = read_object(raw, schema)
    if isinstance(read, Invalid):
        return read
    metadata, spec = read
    try:
        url = parse_url(spec["url"])
    except ValueError as error:
        return Invalid(metadata.key, (Problem("spec.url", str(error)),))
    try:
        proxy = parse_proxy(spec["proxy"]["url"]) if spec.get("proxy") else None
    except ValueError as error:
        return Invalid(metadata.key, (Problem("spec.proxy.url", str(error)),))
    vendor = vendors[spec["vendor"]]
    url = replace(url, path_prefix=url.path_prefix or vendor.path)
    cache = spec.get("cache", {})
    dialects = tuple(spec.get("dialects", _dialects_at(url, vendor)))
    return Provider(
        key=metadata.key,
        generation=metadata.generation,
        labels=metadata.labels,
        vendor=vendor.name,
        url=url,
        credential=_credential(spec["credential"], vendor) if "credential" in spec else None,
        models=tuple(_model(model, cache, vendor) for model in spec["models"]),
        dialects=dialects,
        headers=_headers(spec.get("headers", {})),
        vendor_headers=vendor.headers,
        passed_query=tuple(dict.fromkeys((*vendor.query, *spec.get("query", {}).get("pass", ())))),
        cache=_cache_rules(cache, vendor.cache),
        tls=_tls(spec["tls"]) if spec.get("tls") else None,
        proxy=proxy,
        timeouts=_timeouts(spec["timeouts"], vendor),
        usual_timeouts=_timeouts(_USUAL_TIMEOUTS, vendor),
        limits=_limits(spec.get("limits", {})),
        weight=spec["weight"],
        drain=spec["drain"],
        data_policy=_data_policy(spec.get("dataPolicy", {})),
        reads_provider_object=vendor.reads_provider_object,
        always_reports_usage=vendor.always_reports_usage,
        unused_fields=(*unused_fields("Provider", spec), *_idle_paths(spec.get("paths", {}), dialects)),
        idle_connection_s=vendor.idle_connection_s,
        answer_limit=vendor.answer_limit,
        paths=_paths(spec.get("paths", {}), url, vendor),
        endpoints=tuple(spec.get("endpoints", vendor.endpoints)),
        cache_fields=vendor.cache_fields,
        prompt_caching=spec["promptCaching"],
        stream_usage=vendor.stream_usage,
        user_id=vendor.user_id,
        affinity_header=vendor.affinity_header,
        response_model=spec["responseModel"],
    )


_USUAL_PATHS: Final = ("", "/v1")
"""Of a url at the vendor's own host; a gateway in front has another."""


def _dialects_at(url: Url, vendor: Vendor) -> tuple[DialectName, ...]:
    """A url that is one dialect's own speaks no other."""
    own = tuple(dialect for dialect, path in vendor.paths.items() if url.path_prefix == path)
    return own or vendor.dialects


def _paths(spec: Mapping[DialectName, str], url: Url, vendor: Vendor) -> Mapping[DialectName, str]:
    return {**(vendor.paths if url.path_prefix in _USUAL_PATHS else {}), **spec}


def _idle_paths(spec: Mapping[DialectName, str], dialects: tuple[DialectName, ...]) -> tuple[str, ...]:
    idle = (dialect for dialect in spec if dialect not in dialects)
    return tuple(f"spec.paths.{dialect} has no effect: {dialect} is not among the dialects" for dialect in idle)


def _credential(spec: Mapping[str, Any], vendor: Vendor) -> Credential:
    ref = spec.get("secretRef")
    header = spec.get("header", vendor.auth_header)
    # A header of the user's own choice is not the vendor's, so the vendor's scheme says nothing about it.
    usual = vendor.auth_scheme if header == vendor.auth_header else "Bearer" if header == "authorization" else "Raw"
    return Credential(
        source=EnvVar(spec["env"]) if ref is None else SecretKeyRef(ref["name"], ref["key"]),
        header=header,
        prefix="Bearer " if spec.get("scheme", usual) == "Bearer" else "",
    )


def _headers(spec: Mapping[str, Any]) -> Headers:
    return Headers(passed=tuple(spec.get("pass", ())), set=tuple(map(_set_header, spec.get("set", ()))))


def _set_header(spec: Mapping[str, Any]) -> SetHeader:
    ref = spec.get("secretRef")
    return SetHeader(spec["name"], spec["value"] if ref is None else SecretKeyRef(ref["name"], ref["key"]))


def _model(model: Mapping[str, str], cache: Mapping[str, Any], vendor: Vendor) -> ProviderModel:
    upstream = model.get("upstreamName", model["name"])
    min_tokens = cache.get("minTokens", vendor.min_tokens(upstream))
    return ProviderModel(model["name"], upstream, min_tokens, vendor.cache_key(upstream))


def _cache_rules(spec: Mapping[str, Any], preset: PromptCacheRules) -> PromptCacheRules:
    return PromptCacheRules(
        caches=spec.get("enabled", preset.caches or bool(spec)),
        ttl_s=parse_duration(spec["ttl"]) if "ttl" in spec else preset.ttl_s,
        min_tokens=spec.get("minTokens", preset.min_tokens),
    )


def _timeouts(spec: Mapping[str, str], vendor: Vendor) -> Timeouts:
    return Timeouts(
        connect_s=parse_duration(spec["connect"]),
        first_byte_s=parse_duration(spec["firstByte"]) if "firstByte" in spec else vendor.first_byte_s,
        idle_s=parse_duration(spec["idle"]),
        unstreamed_s=parse_duration(spec["unstreamed"]),
    )


def _limits(spec: Mapping[str, int]) -> Limits | None:
    if not spec:
        return None
    return Limits(spec.get("concurrentRequests"), spec.get("requestsPerMinute"), spec.get("tokensPerMinute"))


def _data_policy(spec: Mapping[str, Any]) -> DataPolicy:
    return DataPolicy(spec.get("zeroRetention"), spec.get("trainsOnPrompts"))


def _tls(spec: Mapping[str, Any]) -> Tls:
    ref = spec.get("caCertificateRef")
    return Tls(
        ca=None if ref is None else CaCertificateRef(ref["kind"], ref["name"], ref["key"]),
        server_name=spec.get("serverName"),
    )
