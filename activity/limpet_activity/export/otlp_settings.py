"""The usual OTEL_* variables, as far as they are about traces. Pure; the OTLP library reads the rest of them itself."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, cast
from urllib.parse import urlsplit

import msgspec
from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.util.re import parse_env_headers

from limpet_activity.export.port import ExportSettingsError

OtlpProtocol: TypeAlias = Literal["grpc", "http/protobuf"]

_GRPC_PORT: Final = 4317
_DEFAULTS: Final[Mapping[OtlpProtocol, str]] = {
    "grpc": f"http://localhost:{_GRPC_PORT}",
    "http/protobuf": "http://localhost:4318",
}
_HTTP_PATH: Final = "/v1/traces"
_SAMPLERS: Final[Mapping[str, Sampler]] = {
    "always_on": sampling.ALWAYS_ON,
    "always_off": sampling.ALWAYS_OFF,
    "parentbased_always_on": sampling.DEFAULT_ON,
    "parentbased_always_off": sampling.DEFAULT_OFF,
}
_BY_RATIO: Final = ("traceidratio", "parentbased_traceidratio")
_NO: Final = ("none", "")


class OtlpSettings(msgspec.Struct, frozen=True):
    """Where spans go and which."""

    endpoint: str
    """With the path, for HTTP."""
    protocol: OtlpProtocol
    headers: Mapping[str, str]
    sampler: Sampler


def otlp_settings(environ: Mapping[str, str]) -> OtlpSettings | None:
    """What the variables say; None: no spans are to be sent. Raises ExportSettingsError.

    They are sent where an endpoint is set, or OTEL_TRACES_EXPORTER is `otlp`.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    wanted = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if wanted not in ("otlp", *_NO):
        raise ExportSettingsError(f"OTEL_TRACES_EXPORTER={wanted}: Limpet sends traces by otlp, or none")
    own, of_all = (environ.get(f"OTEL_EXPORTER_OTLP_{infix}ENDPOINT", "").strip() for infix in ("TRACES_", ""))
    if wanted == "none" or not (wanted or own or of_all):
        return None
    protocol = _protocol(environ, own or of_all)
    headers = environ.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or environ.get("OTEL_EXPORTER_OTLP_HEADERS", "")
    return OtlpSettings(
        _endpoint(own, of_all, protocol), protocol, parse_env_headers(headers, liberal=True), _sampler(environ)
    )


def _protocol(environ: Mapping[str, str], endpoint: str) -> OtlpProtocol:
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if said := environ.get(name, "").strip().lower():
            if said in _DEFAULTS:
                return cast("OtlpProtocol", said)
            raise ExportSettingsError(f"{name}={said}: must be grpc or http/protobuf")
    # The default of the specification is HTTP, and this port is where collectors expect gRPC.
    return "grpc" if endpoint.endswith(f":{_GRPC_PORT}") else "http/protobuf"


def _endpoint(own: str, of_all: str, protocol: OtlpProtocol) -> str:
    endpoint = own or of_all or _DEFAULTS[protocol]
    if protocol == "grpc":
        return endpoint
    if urlsplit(endpoint).scheme not in ("http", "https"):
        raise ExportSettingsError(
            f"OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}: must begin with http:// or https://, as in {_DEFAULTS[protocol]}"
        )
    return own or endpoint.rstrip("/") + _HTTP_PATH


def _sampler(environ: Mapping[str, str]) -> Sampler:
    name = environ.get("OTEL_TRACES_SAMPLER", "").strip().lower() or "parentbased_always_on"
    if name in _SAMPLERS:
        return _SAMPLERS[name]
    if name not in _BY_RATIO:
        raise ExportSettingsError(f"OTEL_TRACES_SAMPLER={name}: must be one of {', '.join((*_SAMPLERS, *_BY_RATIO))}")
    text = environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip() or "1"
    try:
        by_ratio = sampling.TraceIdRatioBased(float(text))
    except ValueError as error:
        raise ExportSettingsError(
            f"OTEL_TRACES_SAMPLER_ARG={text}: must be a share from 0 to 1, such as 0.1 for every tenth trace"
        ) from error
    return by_ratio if name == "traceidratio" else sampling.ParentBased(by_ratio)
