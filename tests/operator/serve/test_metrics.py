"""The pages of both planes, and the page that explains them, name the same metrics."""

import re
from collections import Counter as Counts
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.operator.conftest import Build

from limpet_activity.export.export_metrics import ExportMetrics
from limpet_activity.intake.metrics import IntakeMetrics
from limpet_extproc.contract.certificate_expiry import show_certificate_expiry
from limpet_extproc.contract.registry import Registry
from limpet_extproc.memory.redis.errors import MemoryLog
from limpet_extproc.telemetry.activity_metrics import ActivityMetrics
from limpet_extproc.telemetry.merged_metrics import merged
from limpet_extproc.telemetry.metrics import WorkerMetrics
from limpet_operator.probe.metrics import build_probe_metrics
from limpet_operator.serve.metrics import build_metrics, count_objects, show_stale_prices
from limpet_operator.status.metrics import build_writer_metrics

ROOT = Path(__file__).parents[3]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "charts" / "limpet" / "README.md"]
ENDS = {"counter": "_total", "info": "_info"}
SAID_BY_INFO = {"limpet_build_info": ["version"], "limpet_catalog_revision_info": ["revision"]}
IN_BOTH_PLANES = {"limpet_certificate_expiry_timestamp_seconds"}


class Shown(NamedTuple):
    """A metric under the name that a query writes."""

    name: str
    type: str
    labels: list[str]


def registered(registry: CollectorRegistry) -> list[Shown]:
    collectors: list[Any] = list(registry._collector_to_names)
    found = []
    for each in collectors:
        name = each._name + ENDS.get(each._type, "")
        found.append(Shown(name, each._type, SAID_BY_INFO.get(name, list(each._labelnames))))
    return found


def registries() -> dict[str, CollectorRegistry]:
    control, data, activity = CollectorRegistry(), CollectorRegistry(), CollectorRegistry()
    build_metrics(control, "1")
    build_writer_metrics(control)
    build_probe_metrics(control)
    WorkerMetrics(data)
    MemoryLog("redis", data)
    ActivityMetrics(data)
    for registry in (control, data):
        show_certificate_expiry(registry, Path("tls"))
    ExportMetrics(activity)
    IntakeMetrics(activity)
    return {"Data plane": data, "Control plane": control, "Activity service": activity}


def planes() -> dict[str, list[Shown]]:
    found = {plane: registered(registry) for plane, registry in registries().items()}
    # One page of several workers has these two besides.
    of_parent = text_string_to_metric_families(merged({0: None}, {0: 1}).decode())
    found["Data plane"] += [
        Shown(family.name + ENDS.get(family.type, ""), family.type, list(family.samples[0].labels))
        for family in of_parent
    ]
    return found


def explained() -> dict[str, list[Shown]]:
    parts = re.split(r"^## (.+)$", (ROOT / "docs" / "metrics.md").read_text(), flags=re.MULTILINE)[1:]
    row = re.compile(r"^\| `(limpet_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
    return {
        title: [Shown(name, kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels in row.findall(body)]
        for title, body in zip(parts[::2], parts[1::2], strict=True)
    }


def test_every_metric_is_explained_once_with_its_type_and_labels_and_no_other() -> None:
    page = explained()
    assert {plane: sorted(shown) for plane, shown in page.items()} == {
        plane: sorted(shown) for plane, shown in planes().items()
    }


def test_no_two_planes_use_one_name() -> None:
    """A query would add what has nothing to do with each other."""
    names = Counts(shown.name for plane in planes().values() for shown in plane)
    assert {name for name, number in names.items() if number > 1} == IN_BOTH_PLANES


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_no_document_names_a_metric_that_is_not_there(path: Path) -> None:
    named = set(re.findall(r"`(limpet_\w+)`", path.read_text()))
    packages = {"limpet_extproc", "limpet_operator", "limpet_lab", "limpet_activity"}
    assert named - packages <= {shown.name for plane in planes().values() for shown in plane}


def test_the_words_beside_a_metric_stand_alone() -> None:
    for registry in registries().values():
        for metric in registry.collect():
            assert metric.documentation, metric.name
            assert not re.match(r"(Of these|The same|Likewise|These)\b", metric.documentation), metric.name


def test_a_page_counts_and_does_not_say_since_when() -> None:
    registry = Registry()
    Counter("a", "A.", registry=registry).inc()
    Histogram("b", "B.", registry=registry).observe(1)
    page = generate_latest(registry).decode()
    assert "a_total 1.0" in page
    assert "b_count 1.0" in page
    assert "_created" not in page


def test_objects_are_counted_by_kind_and_whether_they_take_effect(build: Build) -> None:
    registry = CollectorRegistry()
    planned = build.plan(build.raw("Provider"), build.secret(), build.raw("Provider", "bad", url="ftp"))
    count_objects(build_metrics(registry, "1"), planned)
    counted = {
        accepted: registry.get_sample_value("limpet_objects", {"kind": "Provider", "accepted": accepted})
        for accepted in ("true", "false")
    }
    assert counted == {"true": 1, "false": 1}
    assert registry.get_sample_value("limpet_objects", {"kind": "Pricing", "accepted": "true"}) == 0


def test_prices_turn_stale_on_the_page_without_a_new_plan(build: Build) -> None:
    def stale(name: str) -> float | None:
        return registry.get_sample_value("limpet_prices_stale", {"pricing": name})

    registry, now_s = CollectorRegistry(), [datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC).timestamp()]
    metrics, source = build_metrics(registry, "1"), {"name": "list", "retrieved": "2026-11-20"}
    raws = [
        build.raw("Pricing", "a", "ai", source=source, staleAfter="24h"),
        build.raw("Pricing", "no-limit", source=source),
        build.raw("Pricing", "no-date", staleAfter="24h"),
        build.raw("Pricing", "last", source=source | {"retrieved": "9999-12-31"}, staleAfter="720h"),
    ]
    show_stale_prices(metrics, build.plan(*raws), lambda: now_s[0])
    assert (stale("ai/a"), stale("no-limit"), stale("no-date"), stale("last")) == (0, None, None, 0)
    now_s[0] += 1
    assert stale("ai/a") == 1
    show_stale_prices(metrics, build.plan(), lambda: now_s[0])
    assert stale("ai/a") is None
