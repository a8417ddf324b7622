"""The usual variables mean what they mean elsewhere."""

from collections.abc import Mapping

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON

from limpet_activity.export.otlp_settings import OtlpFiles, otlp_settings
from limpet_activity.export.port import ExportSettingsError

ALL, OWN = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {ALL: ""},
        {"OTEL_SERVICE_NAME": "x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {ALL: "http://c:4318", "OTEL_SDK_DISABLED": "true"},
        {ALL: "http://c:4318", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_sent_unless_it_is_asked_for(environ: Mapping[str, str]) -> None:
    assert otlp_settings(environ) is None


@pytest.mark.parametrize(
    ("environ", "endpoint", "protocol"),
    [
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "http://localhost:4318/v1/traces", "http/protobuf"),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "http://localhost:4317",
            "grpc",
        ),
        ({ALL: "http://c:4318"}, "http://c:4318/v1/traces", "http/protobuf"),
        ({ALL: "http://c:4318/base/"}, "http://c:4318/base/v1/traces", "http/protobuf"),
        ({OWN: "https://c/otlp", ALL: "http://other"}, "https://c/otlp", "http/protobuf"),
        ({ALL: "http://c:4317"}, "http://c:4317", "grpc"),
        (
            {ALL: "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "http://c:4317/v1/traces",
            "http/protobuf",
        ),
        (
            {ALL: "c:55", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"},
            "c:55",
            "grpc",
        ),
    ],
)
def test_endpoint_and_protocol(environ: Mapping[str, str], endpoint: str, protocol: str) -> None:
    settings = otlp_settings(environ)
    assert settings is not None
    assert (settings.endpoint, settings.protocol) == (endpoint, protocol)


def test_headers_of_traces_win() -> None:
    settings = otlp_settings({ALL: "http://c", "OTEL_EXPORTER_OTLP_HEADERS": "a=1,authorization=Bearer%20k"})
    assert settings is not None
    assert settings.headers == {"a": "1", "authorization": "Bearer k"}
    both = {ALL: "http://c", "OTEL_EXPORTER_OTLP_HEADERS": "a=1", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "b=2"}
    settings = otlp_settings(both)
    assert settings is not None
    assert settings.headers == {"b": "2"}


def test_those_of_traces_win_over_those_of_all() -> None:
    of_all = {"TIMEOUT": "2500", "COMPRESSION": "gzip", "CERTIFICATE": "/ca", "INSECURE": "true"}
    environ = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in of_all.items()}
    settings = otlp_settings({ALL: "http://c", **environ})
    assert settings is not None
    assert (settings.timeout_s, settings.gzip, settings.insecure, settings.files) == (2.5, True, True, OtlpFiles("/ca"))
    own = {"TIMEOUT": "1", "COMPRESSION": "none", "CERTIFICATE": "/own", "CLIENT_CERTIFICATE": "/c", "CLIENT_KEY": "/k"}
    settings = otlp_settings(
        {ALL: "http://c", **environ, **{f"OTEL_EXPORTER_OTLP_TRACES_{name}": value for name, value in own.items()}}
    )
    assert settings is not None
    assert (settings.timeout_s, settings.gzip, settings.files) == (0.001, False, OtlpFiles("/own", "/c", "/k"))


@pytest.mark.parametrize(
    ("said", "argument", "description"),
    [
        ("", "", DEFAULT_ON.get_description()),
        ("always_off", "", ALWAYS_OFF.get_description()),
        ("traceidratio", "0.25", "TraceIdRatioBased{0.25}"),
        ("parentbased_traceidratio", "", "ParentBased{root:TraceIdRatioBased{1.0}"),
    ],
)
def test_sampler(said: str, argument: str, description: str) -> None:
    settings = otlp_settings({ALL: "http://c", "OTEL_TRACES_SAMPLER": said, "OTEL_TRACES_SAMPLER_ARG": argument})
    assert settings is not None
    assert settings.sampler.get_description().startswith(description)


@pytest.mark.parametrize(
    ("environ", "why"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER=zipkin: Limpet sends traces by otlp, or none"),
        ({ALL: "http://c", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "must be grpc or http/protobuf"),
        (
            {ALL: "http://c", "OTEL_EXPORTER_OTLP_TIMEOUT": "10s"},
            "OTEL_EXPORTER_OTLP_TIMEOUT=10s: must be milliseconds",
        ),
        ({ALL: "http://c", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION": "zstd"}, "COMPRESSION=zstd: must be gzip or none"),
        (
            {ALL: "http://c", "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/k"},
            "OTEL_EXPORTER_OTLP_CLIENT_KEY is set, and OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE is not",
        ),
        ({ALL: "c:4318"}, r"OTEL_EXPORTER_OTLP_ENDPOINT=c:4318: must begin with http:// or https://"),
        ({ALL: "http://c", "OTEL_TRACES_SAMPLER": "jaeger_remote"}, "must be one of always_on, always_off"),
        (
            {ALL: "http://c", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "7"},
            "must be a share from 0 to 1",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_what_would(environ: Mapping[str, str], why: str) -> None:
    with pytest.raises(ExportSettingsError, match=why):
        otlp_settings(environ)


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"OTEL_EXPORTER_OTLP_HEADERS": "authorization: Bearer SECRET"}, "OTEL_EXPORTER_OTLP_HEADERS"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "SECRET"}, "OTEL_EXPORTER_OTLP_HEADERS"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "a=1,my key=SECRET"}, "OTEL_EXPORTER_OTLP_HEADERS: header 2"),
        ({"OTEL_EXPORTER_OTLP_TRACES_HEADERS": "a=SECRET%0ab"}, "OTEL_EXPORTER_OTLP_TRACES_HEADERS"),
        ({ALL: "user:SECRET@c:4318"}, ALL),
        ({ALL: "http://user:SECRET@c:4317"}, ALL),
        ({OWN: "http://c/v1/traces?key=SECRET"}, OWN),
        ({OWN: "http://[SECRET"}, OWN),
    ],
)
def test_a_key_is_never_told(environ: Mapping[str, str], variable: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ExportSettingsError, match=variable) as error:
        otlp_settings({ALL: "http://c", **environ})
    assert "SECRET" not in str(error.value)
    assert "SECRET" not in caplog.text
