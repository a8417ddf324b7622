"""`limpet bench apply`: its objects, its complaints, and one small run over a real API server, operator and Envoy."""

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from limpet_lab.bench.apply_objects import world
from limpet_lab.bench.command import bench
from limpet_operator.planning.plan import plan
from limpet_operator.resources.objects import Foreign, Objects, Parser
from limpet_operator.resources.problem import Invalid


@pytest.mark.parametrize(
    ("providers", "objects", "counted"),
    [
        (3, 6, {"Provider": 3, "Secret": 3}),
        (3, 8, {"Provider": 3, "Secret": 3, "Pricing": 2}),
        (3, 15, {"Provider": 3, "Secret": 3, "Pricing": 3, "HealthProbe": 3, "StickyPolicy": 3}),
        (2, 15, {"Provider": 2, "Secret": 2, "Pricing": 2, "HealthProbe": 4, "StickyPolicy": 5}),
    ],
)
def test_so_many_objects_all_of_which_take_effect(providers: int, objects: int, counted: dict[str, int]) -> None:
    written = list(world(providers, objects, "http://127.0.0.1:9/v1", "alpha"))
    assert Counter(each["kind"] for each in written) == counted
    parser = Parser.load()
    parsed = {}
    for each in written:
        result = parser.parse(each)
        assert not isinstance(result, Invalid | Foreign)
        parsed[result.key] = result
    planned = plan(Objects(parsed), {})
    assert len(planned.providers) == providers
    assert all(each.ok for each in planned.findings.values())


def test_too_few_objects_are_refused_with_the_reason() -> None:
    result = CliRunner().invoke(bench, ["apply", "--providers", "10", "--objects", "19"])
    assert result.exit_code == 2
    assert "20 objects already" in result.output


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(bench, ["apply", "--kubeconfig", str(tmp_path / "nowhere")])
    assert result.exit_code == 2
    assert "no Kubernetes API is known" in result.output


@pytest.mark.envoy
def test_a_small_run_changes_adds_and_removes_without_a_failed_request(tmp_path: Path) -> None:
    file = tmp_path / "apply.json"
    flags = ["--providers", "3", "--objects", "15", "--rounds", "2", "--json", str(file)]
    result = CliRunner().invoke(bench, ["apply", *flags])
    assert result.exit_code == 0, result.output
    figures = json.loads(file.read_text())
    assert (figures["providers"], figures["objects"], figures["rounds"]) == (3, 15, 2)
    assert figures["failed_requests"] == 0
    # One cluster for a change; for an addition also its credential and the list of models, which is a route.
    assert figures["resources_pushed_max"] == 1
    assert (figures["added"]["resources_pushed_max"], figures["removed"]["resources_pushed_max"]) == (3, 1)
    assert figures["ready_s"] > 0
    assert figures["operator_rss_mb"] > 0
    assert figures["status_writes"] >= 12
