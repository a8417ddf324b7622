"""The usual OTEL_* variables, as far as they are about traces. Pure; those of the resource are read by the SDK."""

import re
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, cast
from urllib.parse import unquote, urlsplit

import msgspec
from opentelemetry.sdk.trace import sampling
from opentelemetry.sdk.trace.sampling import Sampler

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
_DEFAULT_TIMEOUT_MS: Final = 10_000
_LONGEST_TIMEOUT_MS: Final = 600_000
_HEADER_NAME: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")


class OtlpFiles(msgspec.Struct, frozen=True):
    """Paths of PEM files for TLS; empty: none of one's own."""

    authorities: str = ""
    """Whom to trust instead of those that this machine trusts."""
    client_certificate: str = ""
    client_key: str = ""


class OtlpSettings(msgspec.Struct, frozen=True):
    """Where spans go, how, and which."""

    endpoint: str
    """With the path, for HTTP."""
    protocol: OtlpProtocol
    headers: Mapping[str, str]
    sampler: Sampler
    timeout_s: float = _DEFAULT_TIMEOUT_MS / 1000
    """For a collector to take one batch."""
    gzip: bool = False
    insecure: bool = False
    """gRPC without TLS where the endpoint has no scheme that says so."""
    files: OtlpFiles = OtlpFiles()


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
    return OtlpSettings(
        _endpoint(own, of_all, protocol),
        protocol,
        _headers(environ),
        _sampler(environ),
        timeout_s=_timeout_s(environ),
        gzip=_gzip(environ),
        insecure=_said(environ, "INSECURE")[1].lower() == "true",
        files=_files(environ),
    )


def _said(environ: Mapping[str, str], what: str) -> tuple[str, str]:
    """The variable of traces, or else of all, and what it says; empty where neither says anything."""
    names = f"OTEL_EXPORTER_OTLP_TRACES_{what}", f"OTEL_EXPORTER_OTLP_{what}"
    return next(((name, said) for name in names if (said := environ.get(name, "").strip())), (names[1], ""))


def _timeout_s(environ: Mapping[str, str]) -> float:
    variable, said = _said(environ, "TIMEOUT")
    if not said:
        return _DEFAULT_TIMEOUT_MS / 1000
    if not re.fullmatch(r"[0-9]{1,6}", said) or not 0 < int(said) <= _LONGEST_TIMEOUT_MS:
        raise ExportSettingsError(f"{variable}={said}: must be milliseconds, from 1 to {_LONGEST_TIMEOUT_MS}")
    return int(said) / 1000


def _gzip(environ: Mapping[str, str]) -> bool:
    variable, said = _said(environ, "COMPRESSION")
    if said.lower() not in ("gzip", *_NO):
        raise ExportSettingsError(f"{variable}={said}: must be gzip or none")
    return said.lower() == "gzip"


def _files(environ: Mapping[str, str]) -> OtlpFiles:
    (_, authorities), (of_certificate, certificate), (of_key, key) = (
        _said(environ, what) for what in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
    )
    if bool(certificate) is not bool(key):
        said, missing = (of_certificate, of_key) if certificate else (of_key, of_certificate)
        raise ExportSettingsError(f"{said} is set, and {missing} is not: a client needs both")
    return OtlpFiles(authorities, certificate, key)


def _headers(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Those of traces, or else of all. Both are looked at, so that what cannot be read is never passed over."""
    own, of_all = (
        _read_headers(name, environ.get(name, ""))
        for name in ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
    )
    return own or of_all


def _read_headers(variable: str, text: str) -> Mapping[str, str]:
    """What is wrong is said without its value, which is a key more often than not."""
    found: dict[str, str] = {}
    for number, pair in enumerate(text.split(","), 1):
        if not pair.strip():
            continue
        name, equals, value = (unquote(part).strip() for part in pair.partition("="))
        if not equals or not _HEADER_NAME.fullmatch(name) or not value.isprintable() or not pair.isascii():
            raise ExportSettingsError(
                f"{variable}: header {number} in it is not NAME=VALUE: give it as authorization=Bearer%20KEY, "
                "separated by commas, with spaces and commas in values as %20 and %2C"
            )
        found[name.lower()] = value
    return found


def _protocol(environ: Mapping[str, str], endpoint: str) -> OtlpProtocol:
    variable, said = _said(environ, "PROTOCOL")
    if said.lower() in _DEFAULTS:
        return cast("OtlpProtocol", said.lower())
    if said:
        raise ExportSettingsError(f"{variable}={said}: must be grpc or http/protobuf")
    # The default of the specification is HTTP, and this port is where collectors expect gRPC.
    return "grpc" if endpoint.endswith(f":{_GRPC_PORT}") else "http/protobuf"


def _endpoint(own: str, of_all: str, protocol: OtlpProtocol) -> str:
    endpoint = own or of_all or _DEFAULTS[protocol]
    variable = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" if own else "OTEL_EXPORTER_OTLP_ENDPOINT"
    try:
        parts = urlsplit(endpoint if "//" in endpoint else f"//{endpoint}")
    except ValueError:
        raise ExportSettingsError(f"{variable}: not an address, such as {_DEFAULTS[protocol]}") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        # What goes wrong is told with the endpoint.
        raise ExportSettingsError(
            f"{variable}: holds a user, a password, a query or a fragment; a key belongs in OTEL_EXPORTER_OTLP_HEADERS"
        )
    if protocol == "grpc":
        return endpoint
    if parts.scheme not in ("http", "https"):
        raise ExportSettingsError(
            f"{variable}={endpoint}: must begin with http:// or https://, as in {_DEFAULTS[protocol]}"
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
