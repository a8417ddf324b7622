"""The dashboard asks for metrics that exist."""

import json
import re
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.chart.rendered import CHART, objects, one

from limpet_extproc.memory.redis.errors import MemoryLog
from limpet_extproc.telemetry.metrics import WorkerMetrics
from limpet_operator.serve.metrics import build_metrics

DASHBOARD = json.loads((CHART / "files" / "dashboard.json").read_text())
_METRIC = re.compile(r"limpet_\w+")


@pytest.fixture(scope="module")
def known() -> set[str]:
    control, data = CollectorRegistry(), CollectorRegistry()
    build_metrics(control, "1")
    WorkerMetrics(data)
    MemoryLog("redis", data)
    names: set[str] = set()
    for metric in (*control.collect(), *data.collect()):
        ends = {"counter": ("_total",), "info": ("_info",), "histogram": ("_bucket", "_sum", "_count")}
        names.update(metric.name + end for end in ends.get(metric.type, ("",)))
    return names


def expressions() -> list[str]:
    variables = [variable["query"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"]
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]] + variables


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_is_one_of_ours(known: set[str], expression: str) -> None:
    asked = set(_METRIC.findall(expression))
    assert asked
    assert asked <= known


def test_panels_do_not_overlap_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        assert panel["title"]
        assert panel["description"]
        place: dict[str, Any] = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_it_is_installed_as_it_is() -> None:
    found = one(objects({"grafanaDashboard": {"enabled": True}}), "ConfigMap", "limpet-dashboard")
    assert json.loads(found["data"]["limpet.json"]) == DASHBOARD
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"


@pytest.mark.parametrize("rule", ["paid", "uncached", "spread", "cheapest"])
def test_each_rule_of_the_bills_is_shown(rule: str) -> None:
    assert any(f'rule="{rule}"' in expression for expression in expressions())


def test_what_was_paid_and_saved_is_shown_by_provider() -> None:
    by_provider = [each for each in expressions() if "limpet_bill_usd_total" in each and "by (provider)" in each]
    assert any(" - " in each and 'rule="spread"' in each and 'rule="paid"' in each for each in by_provider)
    assert any(" - " not in each and 'rule="paid"' in each for each in by_provider)
