"""`limpet plan` on a small log over providers in a directory."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from limpet_lab.plan.command import plan

_OBJECTS = """
apiVersion: limpet.dev/v1alpha1
kind: Provider
metadata: {{name: {name}}}
spec: {{vendor: DeepSeek, url: "https://{name}.example/v1", models: [{models}]}}
---
apiVersion: limpet.dev/v1alpha1
kind: Pricing
metadata: {{name: {name}}}
spec:
  providerRef: {{name: {name}}}
  models: [{{name: tide, perMillionTokens: {{input: "{usd}", cacheRead: "{read}", output: "{usd}"}}}}]
---
"""


def _limpet_plan(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(plan)
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "160", "TERM": "dumb"})


@pytest.fixture
def providers(tmp_path: Path) -> Path:
    file = tmp_path / "providers.yaml"
    tide, both = "{name: tide}", "{name: tide}, {name: rock}"
    file.write_text(
        _OBJECTS.format(name="near", models=tide, usd="1.00", read="0.10")
        + _OBJECTS.format(name="dear", models=both, usd="3.00", read="0.30")
    )
    return file


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Three conversations of six turns a minute apart, on a day."""
    file = tmp_path / "requests.jsonl"
    lines = [
        {
            "at": 1_796_000_000 + 60 * turn + 7 * number,
            "prompt_tokens": 2048 + 1024 * turn,
            "output_tokens": 0,
            "model": "tide",
            "conversation": str(number),
        }
        for number in range(3)
        for turn in range(6)
    ]
    file.write_text("\n".join(json.dumps(line) for line in sorted(lines, key=lambda line: str(line["at"]))))
    return file


def test_each_set_has_a_bill_a_month_with_and_without(log: Path, providers: Path, tmp_path: Path) -> None:
    figures_file = tmp_path / "figures.json"
    result = _limpet_plan(str(log), "--providers", str(providers), "--json", str(figures_file))
    assert result.exit_code == 0, result.output
    assert "tide: 18 requests" in result.output
    assert "The log is shorter than a day" in result.output
    (figures,) = json.loads(figures_file.read_text())["models"].values()
    by_set: dict[str, Any] = {" ".join(each["providers"]): each["rules"] for each in figures["sets"]}
    assert by_set.keys() == {"near", "dear", "near dear"} or by_set.keys() == {"near", "dear", "dear near"}
    months = 30 / figures["days"]
    # A turn finds all whole blocks of the one before: 2,048 tokens at first, then 1,024 more each time.
    uncached = 3 * (2048 + 5 * 1024)
    prompts = 3 * sum(2048 + 1024 * turn for turn in range(6))
    usd = (uncached * 1.0 + (prompts - uncached) * 0.1) / 1e6 * months
    assert by_set["near"]["limpet"]["usd_a_month"] == pytest.approx(usd, rel=0.05)
    assert by_set["dear"]["limpet"]["usd_a_month"] == pytest.approx(3 * usd, rel=0.05)
    assert all(rules["limpet"]["cached_share"] > 0.6 for rules in by_set.values())
    both = next(rules for name, rules in by_set.items() if len(name.split()) == 2)
    assert both["limpet"]["usd_a_month"] < both["no_memory"]["usd_a_month"]


@pytest.mark.parametrize(
    ("lines", "flags", "said"),
    [
        (None, [], "limpet plan: "),
        ([{"at": 1}], [], "limpet plan: "),
        (
            [{"at": 1, "prompt_tokens": 9, "output_tokens": 1, "model": "shell"}],
            [],
            "the requests are for shell, the Providers have rock, tide; if these are the same under other names",
        ),
        (
            [{"at": 1, "prompt_tokens": 9, "output_tokens": 1}],
            [],
            "not all requests name a model, and the Providers have several: say which by --model: rock, tide",
        ),
        (
            [{"at": 1, "prompt_tokens": 9, "output_tokens": 1}],
            ["--model", "rock"],
            "rock: no Provider has a price for it; add its Pricing",
        ),
        (
            [{"timestamp": 1, "input_length": 9, "output_length": 1, "hash_ids": [1]}],
            ["--model", "shell"],
            "no Provider has the model shell; they have rock, tide",
        ),
    ],
)
def test_what_can_not_be_planned_is_said(
    tmp_path: Path, providers: Path, lines: list[Any] | None, flags: list[str], said: str
) -> None:
    file = tmp_path / "log.jsonl"
    if lines is not None:
        file.write_text("\n".join(map(json.dumps, lines)))
    result = _limpet_plan(str(file), "--providers", str(providers), *flags)
    assert result.exit_code == 1
    assert said in result.output


def test_providers_that_are_not_there_are_said(log: Path, tmp_path: Path) -> None:
    result = _limpet_plan(str(log), "--providers", str(tmp_path / "nowhere"))
    assert result.exit_code == 1
    assert "limpet plan: " in result.output


def test_a_trace_is_taken_as_it_is(providers: Path, tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    rows = [
        {"timestamp": 60_000 * turn, "input_length": 2048, "output_length": 1, "hash_ids": [1, 2, 3, 4]}
        for turn in range(4)
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    result = _limpet_plan(str(file), "--providers", str(providers), "--model", "tide", "--most", "3")
    assert result.exit_code == 0, result.output
    assert "tide: the latest 3 of 4 requests are replayed (--most)" in result.output
    assert "tide: 3 requests" in result.output


def test_only_the_latest_requests_are_replayed_and_that_is_said(log: Path, providers: Path) -> None:
    result = _limpet_plan(str(log), "--providers", str(providers), "--most", "5")
    assert "tide: the latest 5 of 18 requests are replayed (--most)" in result.output
    assert "tide: 5 requests" in result.output
