"""The pages of both planes, and the page that explains them, name the same metrics."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.operator.conftest import Build

from limpet_extproc.contract.registry import Registry
from limpet_extproc.memory.redis.errors import MemoryLog
from limpet_extproc.telemetry.merged_metrics import merged
from limpet_extproc.telemetry.metrics import WorkerMetrics
from limpet_operator.probe.metrics import build_probe_metrics
from limpet_operator.serve.metrics import build_metrics, count_objects, show_stale_prices
from limpet_operator.status.metrics import build_writer_metrics

ROOT = Path(__file__).parents[3]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "charts" / "limpet" / "README.md"]
ENDS = {"counter": "_total", "info": "_info"}


def families(registry: CollectorRegistry) -> dict[str, str]:
    """The names as queries write them, with the words that explain them."""
    return {metric.name + ENDS.get(metric.type, ""): metric.documentation for metric in registry.collect()}


def planes() -> dict[str, dict[str, str]]:
    control, data = CollectorRegistry(), CollectorRegistry()
    build_metrics(control, "1")
    build_writer_metrics(control)
    build_probe_metrics(control)
    WorkerMetrics(data)
    MemoryLog("redis", data)
    of_parent = text_string_to_metric_families(merged({}, {}).decode())
    parent = {family.name + ENDS.get(family.type, ""): family.documentation for family in of_parent}
    return {"Data plane": families(data) | parent, "Control plane": families(control)}


def explained() -> dict[str, list[str]]:
    parts = re.split(r"^## (.+)$", (ROOT / "docs" / "metrics.md").read_text(), flags=re.MULTILINE)[1:]
    return {
        title: re.findall(r"^\| `(limpet_\w+)` \|", body, re.MULTILINE)
        for title, body in zip(parts[::2], parts[1::2], strict=True)
    }


def test_every_metric_is_explained_once_and_no_other() -> None:
    page = explained()
    assert {plane: sorted(names) for plane, names in page.items()} == {
        plane: sorted(names) for plane, names in planes().items()
    }


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_no_document_names_a_metric_that_is_not_there(path: Path) -> None:
    named = set(re.findall(r"`(limpet_\w+)`", path.read_text()))
    assert named - {"limpet_extproc", "limpet_operator", "limpet_lab"} <= {
        name for names in planes().values() for name in names
    }


def test_the_words_beside_a_metric_stand_alone() -> None:
    for names in planes().values():
        for name, words in names.items():
            assert words, name
            assert not re.match(r"(Of these|The same|Likewise|These)\b", words), name


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
