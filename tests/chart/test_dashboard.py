"""The dashboard asks for metrics that exist, in queries that Prometheus can read."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.chart.known_metrics import known_metrics
from tests.chart.rendered import CHART, objects, one

DASHBOARD = json.loads((CHART / "files" / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ROWS = [panel for panel in DASHBOARD["panels"] if panel["type"] == "row"]
_METRIC = re.compile(r"limpet_\w+")


def queries() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel["targets"]]


def variables() -> list[str]:
    return [variable["query"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"]


@pytest.mark.parametrize("expression", [*queries(), *variables()])
def test_every_metric_is_one_of_ours(expression: str) -> None:
    asked = set(_METRIC.findall(expression))
    assert asked
    assert asked <= known_metrics()


def test_prometheus_can_read_every_query(tmp_path: Path) -> None:
    filled = [re.sub(r"\$__(rate_interval|range)", "5m", query) for query in queries()]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(filled)]
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", "rules.json"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_chosen_above_holds_in_every_panel() -> None:
    for query in queries():
        assert query.count("{") == query.count('{namespace=~"$namespace"'), query


def test_rows_follow_each_other_and_each_has_panels() -> None:
    titles = ["Traffic and cached share", "Bills", "Causes of misses", "Latency", "Health of providers"]
    assert [row["title"] for row in ROWS] == [*titles, "Inside the gateway", "Activity log"]
    kinds = [panel["type"] == "row" for panel in DASHBOARD["panels"]]
    assert not any(one and other for one, other in zip(kinds, [*kinds[1:], True], strict=True))
    heights = [panel["gridPos"]["y"] for panel in DASHBOARD["panels"]]
    assert heights == sorted(heights)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_panels_do_not_overlap_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        assert panel["title"]
        assert panel["type"] == "row" or panel["description"]
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
    assert any(f'rule="{rule}"' in expression for expression in queries())


def test_what_was_paid_and_saved_is_shown_by_provider() -> None:
    by_provider = [each for each in queries() if "limpet_bill_usd_total" in each and "by (provider)" in each]
    assert any(" - " in each and 'rule="spread"' in each and 'rule="paid"' in each for each in by_provider)
    assert any(" - " not in each and 'rule="paid"' in each for each in by_provider)
