"""Spans at a collector, which may be away, slow, or refuse."""

import socket
from collections.abc import Mapping, Sequence

import pytest
from prometheus_client import CollectorRegistry
from tests.activity.export.collectors import Collector, grpc_collector, http_collector
from tests.activity.export.records import RECORD, numbered
from tests.waiting import eventually

from limpet_activity.export.background import BackgroundExporter
from limpet_activity.export.export_metrics import ExportMetrics
from limpet_activity.export.otlp import OtlpSpans, resource_of
from limpet_activity.export.otlp_senders import span_sender
from limpet_activity.export.otlp_settings import otlp_settings
from limpet_activity.export.port import Exporter
from limpet_activity.export.spans import spans_of
from limpet_activity.export.wiring import ExportSettings, exporters

pytestmark = pytest.mark.slow

PROTOCOLS = [
    pytest.param(grpc_collector, "grpc", id="grpc"),
    pytest.param(http_collector, "http/protobuf", id="http"),
]


def variables(endpoint: str, protocol: str) -> Mapping[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-team=cache",
        "OTEL_SERVICE_NAME": "gateway-eu",
    }


def started(endpoint: str, protocol: str) -> tuple[Exporter, CollectorRegistry]:
    registry = CollectorRegistry()
    (exporter,) = exporters(ExportSettings(version="1.2"), variables(endpoint, protocol), registry)
    return exporter, registry


def impatient(endpoint: str, protocol: str, pauses_s: Sequence[float]) -> tuple[Exporter, CollectorRegistry]:
    settings, registry = otlp_settings(variables(endpoint, protocol)), CollectorRegistry()
    assert settings is not None
    sink = OtlpSpans(span_sender(settings), spans_of(resource_of("1", ""), settings.sampler))
    return BackgroundExporter("otlp", sink, ExportMetrics(registry), pauses_s=pauses_s), registry


def count(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"limpet_activity_{name}_records_total", {"exporter": "otlp", **labels})


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(("collector", "protocol"), PROTOCOLS)
def test_spans_arrive_with_the_name_of_the_service_and_the_headers(collector: Collector, protocol: str) -> None:
    with collector() as (endpoint, received):
        exporter, registry = started(endpoint, protocol)
        exporter.export([RECORD, *numbered(2)])
        exporter.close(60)
        assert len(received.spans()) == 9
        assert received.resource()["service.name"] == "gateway-eu"
        assert received.resource()["service.version"] == "1.2"
        assert received.headers[0]["x-team"] == "cache"
        assert count(registry, "exported") == 3
        request, failed, _ = received.spans()[:3]
        assert (request.name, failed.name, failed.parent_span_id) == (
            "chat deepseek/small",
            "attempt alpha",
            request.span_id,
        )
        named = {attribute.key: attribute.value for attribute in request.attributes}
        assert named["gen_ai.usage.cache_read.input_tokens"].int_value == 4000
        assert named["limpet.cost.paid_usd"].double_value == 0.001


@pytest.mark.parametrize(("collector", "protocol"), PROTOCOLS)
def test_a_collector_that_starts_late_gets_all_of_it(collector: Collector, protocol: str) -> None:
    port = free_port()
    exporter, registry = started(f"http://127.0.0.1:{port}", protocol)
    exporter.export(numbered(5))
    with collector(port) as (_, received):
        exporter.export(numbered(5, 5))
        eventually(lambda: count(registry, "exported") == 10)
        assert len({span.trace_id for span in received.spans()}) == 10
        exporter.close(60)
    assert count(registry, "export_lost", why="not_taken") == 0


@pytest.mark.parametrize(("collector", "protocol"), PROTOCOLS)
def test_a_collector_that_refuses_is_counted_and_used_once_it_does_not(collector: Collector, protocol: str) -> None:
    with collector() as (endpoint, received):
        received.refuses = True
        exporter, registry = impatient(endpoint, protocol, (0.0,))
        exporter.export(numbered(3))
        eventually(lambda: count(registry, "export_lost", why="not_taken") == 3)
        received.refuses = False
        exporter.export(numbered(2, 3))
        exporter.close(60)
        assert count(registry, "exported") == 2
        assert len(received.spans()) == 6


@pytest.mark.parametrize(("collector", "protocol"), PROTOCOLS)
def test_a_slow_collector_holds_up_nobody(collector: Collector, protocol: str) -> None:
    with collector() as (endpoint, received):
        received.open.clear()
        exporter, registry = started(endpoint, protocol)
        for begin in range(0, 3000, 500):
            exporter.export(numbered(500, begin))
        assert not received.requests
        received.open.set()
        eventually(lambda: count(registry, "exported") == 3000)
        exporter.close(60)
        assert len({span.span_id for span in received.spans()}) == 9000


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_one_that_is_away_does_not_hold_up_the_end(protocol: str) -> None:
    exporter, registry = impatient(f"http://127.0.0.1:{free_port()}", protocol, (3600.0,))
    exporter.export(numbered(3))
    exporter.close(0.0)
    assert count(registry, "export_lost", why="not_taken") == 3
