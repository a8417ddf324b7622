"""Connections to a collector: TLS both ways, compression, timeouts, and any order of installing."""

import ssl
import subprocess
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import grpc
import pytest
import trustme
from tests.activity.export.collectors import Collector, Received, grpc_collector, http_collector

from limpet_activity.export.otlp_messages import ExportRequest
from limpet_activity.export.otlp_senders import NotTakenError, SpanSender, span_sender
from limpet_activity.export.otlp_settings import otlp_settings
from limpet_activity.export.port import ExportSettingsError

PROTOCOLS = [
    pytest.param(grpc_collector, "grpc", id="grpc", marks=pytest.mark.slow),
    pytest.param(http_collector, "http/protobuf", id="http", marks=pytest.mark.slow),
]
REQUEST = ExportRequest(resource_spans=[{"schema_url": "one"}]).SerializeToString()


def sender(endpoint: str, protocol: str, **variables: str) -> SpanSender:
    own: Mapping[str, str] = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in variables.items()}
    settings = otlp_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol, **own})
    assert settings is not None
    return span_sender(settings)


class Papers:
    """Of a collector that wants to know who its clients are, and of one of them."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        server, client = authority.issue_cert("127.0.0.1"), authority.issue_cert("client@limpet")
        self.authority, self.key, self.certificate = (folder / name for name in ("ca", "key", "certificate"))
        authority.cert_pem.write_to_path(self.authority)
        client.private_key_pem.write_to_path(self.key)
        client.cert_chain_pems[0].write_to_path(self.certificate)
        self._server_key, self._server_certificate = server.private_key_pem.bytes(), server.cert_chain_pems[0].bytes()
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.authority))
        self._context.verify_mode = ssl.CERT_REQUIRED
        server.configure_cert(self._context)

    def collector(self, protocol: str) -> AbstractContextManager[tuple[str, Received]]:
        if protocol == "grpc":
            pair, root = (self._server_key, self._server_certificate), self.authority.read_bytes()
            return grpc_collector(tls=grpc.ssl_server_credentials([pair], root, require_client_auth=True))
        return http_collector(tls=self._context)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_both_sides_may_show_certificates(papers: Papers, protocol: str) -> None:
    with papers.collector(protocol) as (endpoint, received):
        known = sender(
            endpoint,
            protocol,
            CERTIFICATE=str(papers.authority),
            CLIENT_KEY=str(papers.key),
            CLIENT_CERTIFICATE=str(papers.certificate),
        )
        known.send(REQUEST)
        known.close()
        assert received.requests == [ExportRequest.FromString(REQUEST)]
        for unknown in ({"CERTIFICATE": str(papers.authority)}, {}):
            stranger = sender(endpoint, protocol, **unknown)
            with pytest.raises(NotTakenError):
                stranger.send(REQUEST)
            stranger.close()


@pytest.mark.parametrize(("collector", "protocol"), PROTOCOLS)
def test_compressed_it_says_so(collector: Collector, protocol: str) -> None:
    with collector() as (endpoint, received):
        compressing = sender(endpoint, protocol, COMPRESSION="gzip")
        compressing.send(REQUEST)
        compressing.close()
        assert received.requests == [ExportRequest.FromString(REQUEST)]
        if protocol != "grpc":  # The server of gRPC keeps it to itself.
            assert received.headers[0]["content-encoding"] == "gzip"


@pytest.mark.parametrize(("collector", "protocol"), PROTOCOLS)
def test_no_longer_than_its_timeout(collector: Collector, protocol: str) -> None:
    with collector() as (endpoint, received):
        received.open.clear()
        hurried = sender(endpoint, protocol, TIMEOUT="50")
        with pytest.raises(NotTakenError):
            hurried.send(REQUEST)
        received.open.set()
        hurried.close()


@pytest.mark.parametrize(("collector", "protocol"), PROTOCOLS)
def test_a_refusal_says_what_was_answered_and_no_header(collector: Collector, protocol: str) -> None:
    with collector() as (endpoint, received):
        received.refuses = True
        refused = sender(endpoint, protocol, HEADERS="authorization=Bearer%20SECRET")
        with pytest.raises(NotTakenError, match=r"UNAUTHENTICATED: who are you|401 Unauthorized") as error:
            refused.send(REQUEST)
        refused.close()
        assert endpoint in str(error.value)
        assert "SECRET" not in str(error.value)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_closed_it_sends_nothing(protocol: str) -> None:
    closed = sender("http://127.0.0.1:9", protocol)
    closed.close()
    with pytest.raises(NotTakenError):
        closed.send(REQUEST)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_a_file_that_is_not_there_is_told(protocol: str) -> None:
    with pytest.raises(ExportSettingsError, match="/missing"):
        sender("https://c", protocol, CERTIFICATE="/missing")


@pytest.mark.slow
def test_it_never_reads_the_files_that_packages_fight_for() -> None:
    program = "import sys, limpet_activity.process.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = done.stdout.split()
    assert "limpet_activity.export.otlp_senders" in imported
    assert not [name for name in imported if name.startswith("opentelemetry.proto")]
