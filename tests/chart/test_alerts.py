"""Alerts fire when they should and only then, ask for metrics that exist, and each has a section in the runbook."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import yaml
from prometheus_client import generate_latest
from tests.chart.known_metrics import known_metrics
from tests.chart.rendered import CHART, ROOT, objects, one
from tests.operator.serve.test_metrics import registries

FILE: Final = CHART / "files" / "alerts.yaml"
GROUPS: Final[list[dict[str, Any]]] = yaml.safe_load(FILE.read_text())["groups"]
RULES: Final[list[dict[str, Any]]] = [rule for group in GROUPS for rule in group["rules"]]
ALERTS: Final = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RUNBOOK: Final = (ROOT / "docs" / "runbook.md").read_text()
_METRIC: Final = re.compile(r"\blimpet_\w+")


class Case(NamedTuple):
    """An alert, series as promtool writes them, and the labels of what then fires at `minute`; none: nothing does."""

    alert: str
    series: Mapping[str, str]
    minute: int
    fires: Sequence[Mapping[str, str]] = ()

    @property
    def step(self) -> str:
        """Between the samples of a series."""
        return "1m" if self.minute < 100 else "5m"


def tokens(kind: str, values: str) -> dict[str, str]:
    return {f'limpet_{kind}_tokens_total{{namespace="ai",provider="a",model="m"}}': values}


# Every five minutes: 1.44 million prompt tokens an hour; for a day 70% of them from caches, then 70% or 10%.
DAY = "0+120000x300"
STEADY = tokens("prompt", DAY) | tokens("cached", "0+84000x300")
FELL = tokens("prompt", DAY) | tokens("cached", "0+84000x288 24204000+12000x12")
LITTLE = tokens("prompt", "0+120x300") | tokens("cached", "0+84x288 24204+12x12")
NEVER = tokens("prompt", DAY) | tokens("cached", "0+6000x288 1728000+0x12")
UNREPORTED = FELL | tokens("cache_unreported", "0+0x288 0+102000x12")

VERDICT = 'limpet_provider_verdict{namespace="ai",pod="p",provider="a",model="m",verdict="%s"}'
REQUESTS = 'limpet_requests_total{namespace="ai",provider="%s",decision="%s",outcome="%s"}'
DECISIONS = 'limpet_decisions_total{namespace="ai",reason="%s"}'
ATTEMPTS = 'limpet_attempts_total{namespace="ai",pod="%s",provider="a",outcome="%s"}'
CERTIFICATE = 'limpet_certificate_expiry_timestamp_seconds{namespace="ai",pod="p",file="tls.crt"}'
MEMORY = 'limpet_memory_%s{namespace="ai",pod="p",worker="0"}'
WORKER = {"namespace": "ai", "pod": "p", "worker": "0"}
AI = {"namespace": "ai"}
MODEL = {"namespace": "ai", "provider": "a", "model": "m"}
BATCHES = 'limpet_outcome_delay_seconds_bucket{namespace="ai",pod="p",worker="0",le="%s"}'
TAKEN = 'limpet_access_log_entries_total{namespace="ai",pod="p",worker="%s",envoy="%s"}'
WRITTEN = 'envoy_access_logs_grpc_access_log_logs_%s{namespace="ai",pod="p"}'
STORE = 'limpet_activity_store_up{namespace="ai",pod="p"}'
DROPPED = 'limpet_activity_records_total{namespace="ai",pod="p",worker="0",outcome="dropped"}'
LOST = 'limpet_activity_export_lost_records_total{namespace="ai",exporter="otlp",why="not_taken"}'

CASES: Final = [
    Case("LimpetHitRateFell", FELL, 1495, [AI]),
    Case("LimpetHitRateFell", STEADY, 1495),
    Case("LimpetHitRateFell", LITTLE, 1495),
    Case("LimpetHitRateFell", NEVER, 1495),
    Case("LimpetHitRateFell", UNREPORTED, 1495),
    Case("LimpetProviderDown", {VERDICT % "down": "1x20"}, 6, [MODEL]),
    Case("LimpetProviderDown", {VERDICT % "down": "1x20"}, 4),
    Case("LimpetProviderDown", {VERDICT % "down": "0x20", VERDICT % "over_limit": "1x20"}, 20),
    Case(
        "LimpetNoProviderLeft",
        {DECISIONS % "last_resort.all_out": "0+1x20", DECISIONS % "sticky.hit": "0+9x20"},
        15,
        [AI],
    ),
    Case(
        "LimpetNoProviderLeft", {DECISIONS % "last_resort.all_out": "0+1x20", DECISIONS % "sticky.hit": "0+99x20"}, 15
    ),
    Case(
        "LimpetCredentialRefused",
        {ATTEMPTS % ("p", "failed_401"): "_x20 1x5"},
        22,
        [{"namespace": "ai", "provider": "a"}],
    ),
    Case(
        "LimpetCredentialRefused",
        {ATTEMPTS % ("p", "failed_401"): "3+0x20 4x20", ATTEMPTS % ("q", "failed_401"): "1x50"},
        25,
        [{"namespace": "ai", "provider": "a"}],
    ),
    Case("LimpetCredentialRefused", {ATTEMPTS % ("p", "failed_401"): "3x60", ATTEMPTS % ("p", "ok"): "0+5x60"}, 50),
    Case(
        "LimpetPriceStale",
        {'limpet_prices_stale{namespace="ai",pricing="ai/list"}': "1x90"},
        70,
        [{"namespace": "ai", "pricing": "ai/list"}],
    ),
    Case("LimpetPriceStale", {'limpet_prices_stale{namespace="ai",pricing="ai/list"}': "1x30 0x60"}, 70),
    Case(
        "LimpetRequestsFailing",
        {REQUESTS % ("a", "sticky.hit", "failed"): "0+1x30", REQUESTS % ("a", "sticky.hit", "ok"): "0+9x30"},
        20,
        [AI],
    ),
    Case(
        "LimpetRequestsFailing",
        {
            REQUESTS % ("none", "refused.unknown_model", "refused"): "0+9x30",
            REQUESTS % ("a", "sticky.hit", "ok"): "0+9x30",
        },
        20,
    ),
    Case(
        "LimpetWorkersUndecided",
        {REQUESTS % ("a", "fallback.undecided", "ok"): "0+1x30", REQUESTS % ("a", "sticky.hit", "ok"): "0+9x30"},
        20,
        [AI],
    ),
    Case(
        "LimpetWorkersUndecided",
        {REQUESTS % ("none", "refused.unchecked", "refused"): "0+1x30", REQUESTS % ("a", "sticky.hit", "ok"): "0+9x30"},
        20,
        [AI],
    ),
    Case("LimpetWorkersUndecided", {REQUESTS % ("a", "sticky.hit", "ok"): "0+9x30"}, 20),
    Case("LimpetWorkerDown", {'limpet_worker_up{namespace="ai",pod="p",worker="0"}': "0x20"}, 10, [WORKER]),
    Case("LimpetWorkerDown", {'limpet_worker_up{namespace="ai",pod="p",worker="0"}': "0x3 1x20"}, 10),
    Case(
        "LimpetOutcomesLate",
        {BATCHES % "0.05": "0+90x30", BATCHES % "1.0": "0+90x30"}
        | {BATCHES % "2.5": "0+100x30", BATCHES % "+Inf": "0+100x30"},
        20,
        [{"namespace": "ai", "pod": "p"}],
    ),
    # A worker that was stopped once.
    Case(
        "LimpetOutcomesLate",
        {BATCHES % "0.05": "0+100x30", BATCHES % "1.0": "0+100x30"}
        | {BATCHES % "2.5": "0+100x9 903+100x20", BATCHES % "+Inf": "0+100x9 903+100x20"},
        20,
    ),
    Case(
        "LimpetOutcomesLost",
        {TAKEN % ("0", "own"): "0+400x40", TAKEN % ("1", "own"): "0+500x40", TAKEN % ("1", "sidecar"): "0+900x40"}
        | {WRITTEN % "written": "0+1000x40", WRITTEN % "dropped": "0x40"},
        30,
        [{"namespace": "ai", "pod": "p"}],
    ),
    Case(
        "LimpetOutcomesLost",
        {TAKEN % ("0", "own"): "0+900x40", WRITTEN % "written": "0+900x40", WRITTEN % "dropped": "0+100x40"},
        30,
        [{"namespace": "ai", "pod": "p"}],
    ),
    Case(
        "LimpetOutcomesLost",
        {TAKEN % ("0", "own"): "0+1000x40", WRITTEN % "written": "0+1000x40", WRITTEN % "dropped": "0x40"},
        30,
    ),
    Case(
        "LimpetOutcomesLost",
        {TAKEN % ("0", "own"): "0+4x40", WRITTEN % "written": "0+5x40", WRITTEN % "dropped": "0x40"},
        30,
    ),
    Case("LimpetOperatorAway", {'limpet_catalog_connected{namespace="ai",pod="p",worker="0"}': "0x20"}, 15, [WORKER]),
    Case("LimpetOperatorAway", {'limpet_catalog_connected{namespace="ai",pod="p",worker="0"}': "0x5 1x20"}, 15),
    Case(
        "LimpetMemoryAway", {MEMORY % "up": "0x20", MEMORY % "writable": "1x20"}, 5, [{"namespace": "ai", "pod": "p"}]
    ),
    Case(
        "LimpetMemoryAway", {MEMORY % "up": "1x20", MEMORY % "writable": "0x20"}, 5, [{"namespace": "ai", "pod": "p"}]
    ),
    Case("LimpetMemoryAway", {MEMORY % "up": "1x20", MEMORY % "writable": "1x20"}, 5),
    Case(
        "LimpetConfigurationRefused",
        {'limpet_xds_nacks_total{namespace="ai",type="Cluster"}': "0x5 1x20"},
        10,
        [{"namespace": "ai", "type": "Cluster"}],
    ),
    Case("LimpetConfigurationRefused", {'limpet_xds_nacks_total{namespace="ai",type="Cluster"}': "1x30"}, 20),
    Case(
        "LimpetCertificateExpires",
        {CERTIFICATE: f"{13 * 86400}x90"},
        70,
        [{"namespace": "ai", "pod": "p", "file": "tls.crt"}],
    ),
    Case("LimpetCertificateExpires", {CERTIFICATE: f"{15 * 86400}x90"}, 70),
    Case("LimpetRecordsDropped", {DROPPED: "0x5 3x20"}, 10, [{"namespace": "ai", "pod": "p"}]),
    Case("LimpetRecordsDropped", {DROPPED: "3x60"}, 50),
    Case("LimpetActivityStoreAway", {STORE: "0x20"}, 10, [{"namespace": "ai", "pod": "p"}]),
    Case("LimpetActivityStoreAway", {STORE: "0x4 1x20"}, 10),
    Case(
        "LimpetExportLosesRecords",
        {LOST: "0x5 7x20"},
        10,
        [{"namespace": "ai", "exporter": "otlp", "why": "not_taken"}],
    ),
    Case("LimpetExportLosesRecords", {LOST: "7x60"}, 50),
]


def promtool(*arguments: str, folder: Path) -> str:
    done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def without_words(path: Path) -> str:
    """The rules without annotations, which promtool would compare word for word."""
    bare = [{**rule, "annotations": {}} if "alert" in rule else rule for rule in RULES]
    path.write_text(json.dumps({"groups": [{"name": "all", "rules": bare}]}))
    return path.name


def test_the_rules_are_valid() -> None:
    assert "SUCCESS" in promtool("check", "rules", FILE.name, folder=FILE.parent)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["1m", "5m"])
def test_each_fires_when_it_should_and_only_then(step: str, tmp_path: Path) -> None:
    tests = [
        {
            "name": f"{number}: {case.alert}",
            "interval": step,
            "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
            "alert_rule_test": [
                {
                    "eval_time": f"{case.minute}m",
                    "alertname": case.alert,
                    "exp_alerts": [
                        {"exp_labels": {**labels, "severity": ALERTS[case.alert]["labels"]["severity"]}}
                        for labels in case.fires
                    ],
                }
            ],
        }
        for number, case in enumerate(CASES)
        if case.step == step
    ]
    suite = {"rule_files": [without_words(tmp_path / "rules.json")], "evaluation_interval": step, "tests": tests}
    (tmp_path / "suite.json").write_text(json.dumps(suite))
    promtool("test", "rules", "suite.json", folder=tmp_path)


@pytest.mark.parametrize("plane", registries())
def test_promtool_finds_nothing_to_say_about_our_metrics(plane: str) -> None:
    page = generate_latest(registries()[plane])
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_every_alert_is_tried_both_ways() -> None:
    assert (
        {case.alert for case in CASES if case.fires}
        == ALERTS.keys()
        == {case.alert for case in CASES if not case.fires}
    )


def test_the_words_of_an_alert_are_filled_in(tmp_path: Path) -> None:
    words = {
        "summary": "Provider a, model m, is down",
        "description": ALERTS["LimpetProviderDown"]["annotations"]["description"],
        "runbook_url": "docs/runbook.md#limpetproviderdown",
    }
    alert = {"exp_labels": {**MODEL, "severity": "warning"}, "exp_annotations": words}
    tried = {
        "interval": "1m",
        "input_series": [{"series": VERDICT % "down", "values": "1x20"}],
        "alert_rule_test": [{"eval_time": "6m", "alertname": "LimpetProviderDown", "exp_alerts": [alert]}],
    }
    (tmp_path / "rules.yaml").write_text(FILE.read_text())
    (tmp_path / "suite.json").write_text(json.dumps({"rule_files": ["rules.yaml"], "tests": [tried]}))
    promtool("test", "rules", "suite.json", folder=tmp_path)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_it_asks_for_metrics_that_exist(rule: Mapping[str, Any]) -> None:
    asked = set(_METRIC.findall(rule["expr"]))
    assert asked <= known_metrics()
    assert asked


@pytest.mark.parametrize("alert", ALERTS)
def test_it_says_how_grave_it_is_and_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("info", "warning", "critical")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{alert.lower()}"


def test_the_runbook_has_a_section_for_each_and_no_other() -> None:
    assert re.findall(r"^## (Limpet\w+)$", RUNBOOK, re.MULTILINE) == list(ALERTS)


def test_they_are_installed_as_they_are_with_your_runbook() -> None:
    values = {"enabled": True, "runbook": "https://wiki.test/limpet", "labels": {"release": "prometheus"}}
    found = one(objects({"prometheusRule": values}), "PrometheusRule", "limpet")
    assert found["metadata"]["labels"]["release"] == "prometheus"
    text = json.dumps(found["spec"]["groups"])
    assert json.loads(text.replace("https://wiki.test/limpet", "docs/runbook.md")) == GROUPS
    assert "https://wiki.test/limpet#limpetproviderdown" in text
