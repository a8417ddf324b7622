"""How a Provider is read: its spec, and the vendor's preset for all that the spec does not set."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from limpet_extproc.contract.apis import DialectName
from limpet_extproc.contract.catalog import Limits
from limpet_operator.resources.durations import parse_duration
from limpet_operator.resources.metadata import read_object
from limpet_operator.resources.problem import Invalid, Problem
from limpet_operator.resources.provider import (
    CaCertificateRef,
    Credential,
    DataPolicy,
    EnvVar,
    Headers,
    Provider,
    ProviderModel,
    SecretKeyRef,
    SetHeader,
    Timeouts,
    Tls,
)
from limpet_operator.resources.proxy import parse_proxy
from limpet_operator.resources.schema import KindSchema
from limpet_operator.resources.unused_fields import unused_fields
from limpet_operator.resources.url import Url, parse_url
from limpet_operator.resources.vendors import PromptCacheRules, Vendor

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
