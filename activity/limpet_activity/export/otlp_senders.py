"""Carry an encoded batch to a collector, by gRPC or by HTTP. One attempt each: the caller decides about others."""

import gzip
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, cast
from urllib.parse import urlsplit

import grpc
import httpx

from limpet_activity.export.otlp_messages import TRACE_SERVICE
from limpet_activity.export.otlp_settings import OtlpFiles, OtlpSettings
from limpet_activity.export.port import ExportSettingsError

_CHANNEL: Final = (
    # A collector that starts again is found within the pauses between attempts.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class NotTakenError(Exception):
    """The collector is away or refused; the text says how, without any header."""


class SpanSender(Protocol):
    """A connection to a collector."""

    def send(self, request: bytes) -> None:
        """Blocks until it is taken. Raises NotTakenError."""

    def close(self) -> None:
        """From any thread: what is being sent is given up, and nothing is sent any more."""


def span_sender(settings: OtlpSettings) -> SpanSender:
    """To the collector of the settings, which need not be there yet. Raises ExportSettingsError for unusable files."""
    return GrpcSender(settings) if settings.protocol == "grpc" else HttpSender(settings)


class GrpcSender:
    """By OTLP/gRPC."""

    def __init__(self, settings: OtlpSettings) -> None:
        parts = urlsplit(settings.endpoint) if "//" in settings.endpoint else None
        target = parts.netloc if parts is not None else settings.endpoint
        compression = grpc.Compression.Gzip if settings.gzip else grpc.Compression.NoCompression
        if parts.scheme == "http" if parts is not None else settings.insecure:
            self._channel = grpc.insecure_channel(target, _CHANNEL, compression)
        else:
            self._channel = grpc.secure_channel(target, _channel_credentials(settings.files), _CHANNEL, compression)
        self._export: Callable[..., bytes] = self._channel.unary_unary(f"/{TRACE_SERVICE}/Export", None, None)
        self._settings = settings

    def send(self, request: bytes) -> None:
        """See `SpanSender`."""
        try:
            self._export(request, timeout=self._settings.timeout_s, metadata=tuple(self._settings.headers.items()))
        except grpc.RpcError as error:
            call = cast("grpc.Call", error)  # Such an error always is one.
            raise NotTakenError(f"{self._settings.endpoint} says {call.code().name}: {call.details()}") from error
        except ValueError as error:  # Of a closed channel.
            raise NotTakenError(str(error)) from error

    def close(self) -> None:
        """See `SpanSender`."""
        self._channel.close()


class HttpSender:
    """By OTLP/HTTP with protobuf. What is on its way when it is closed ends by itself or by its timeout."""

    def __init__(self, settings: OtlpSettings) -> None:
        self._settings = settings
        encoding = {"content-encoding": "gzip"} if settings.gzip else {}
        headers = {**settings.headers, "content-type": "application/x-protobuf", **encoding}
        self._client = httpx.Client(verify=_tls(settings.files), headers=headers, timeout=settings.timeout_s)

    def send(self, request: bytes) -> None:
        """See `SpanSender`."""
        body = gzip.compress(request) if self._settings.gzip else request
        try:
            answer = self._client.post(self._settings.endpoint, content=body)
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:  # RuntimeError: it is closed.
            raise NotTakenError(f"{self._settings.endpoint}: {error!r}") from error
        if not answer.is_success:
            raise NotTakenError(f"{self._settings.endpoint} says {answer.status_code} {answer.reason_phrase}")

    def close(self) -> None:
        """See `SpanSender`."""
        self._client.close()


def _channel_credentials(files: OtlpFiles) -> grpc.ChannelCredentials:
    authorities, key, certificate = (
        _pem(path) for path in (files.authorities, files.client_key, files.client_certificate)
    )
    return grpc.ssl_channel_credentials(authorities, key, certificate)


def _pem(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes() if path else None
    except OSError as error:
        raise ExportSettingsError(f"a file for the connection to the collector cannot be read: {error}") from error


def _tls(files: OtlpFiles) -> ssl.SSLContext:
    try:
        context = (
            ssl.create_default_context(cafile=files.authorities) if files.authorities else (httpx.create_ssl_context())
        )
        if files.client_certificate:
            context.load_cert_chain(files.client_certificate, files.client_key)
    except OSError as error:  # With those of ssl.
        paths = ", ".join(path for path in (files.authorities, files.client_certificate, files.client_key) if path)
        raise ExportSettingsError(
            f"a file for the connection to the collector cannot be read: {paths}: {error}"
        ) from error
    return context
