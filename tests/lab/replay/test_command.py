"""`limpet bench replay` on the sample that comes with it, and the generated families."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from limpet_lab.bench.command import bench
from limpet_lab.replay.command import default_world
from limpet_lab.replay.comparison import compare
from limpet_lab.replay.families import FAMILY_NAMES, family
from limpet_lab.replay.show import svg
from limpet_lab.replay.trace import Trace

NAMES = {"limpet", "no_memory", "fingerprint_pin", "openrouter", "always_cheapest", "rendezvous_only"}


@pytest.fixture(name="figures", scope="module")
def _figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("replay")
    done = CliRunner().invoke(bench, ["replay", "--json", str(folder / "f.json"), "--svg", str(folder / "f.svg")])
    assert done.exit_code == 0, done.output
    assert "lower bound" in done.output
    assert (folder / "f.svg").read_text().startswith("<svg ")
    return json.loads((folder / "f.json").read_text())


def test_all_rule_sets_have_a_bill_above_the_bound(figures: dict[str, Any]) -> None:
    assert set(figures["rules"]) == NAMES
    assert figures["requests"] == 190
    for each in figures["rules"].values():
        assert each["usd"] >= figures["clairvoyant_usd"]
        assert each["ratio"] == pytest.approx(each["usd"] / figures["clairvoyant_usd"])
        assert 0 < each["cached_share"] < 1
        assert each["unserved"] == 0


def test_limpet_pays_least(figures: dict[str, Any]) -> None:
    rules = figures["rules"]
    assert min(rules, key=lambda name: rules[name]["usd"]) == "limpet"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.jsonl"], "No such file"),
        (["--family", "unheard-of"], "there is no family 'unheard-of'"),
    ],
)
def test_what_cannot_be_replayed_is_said(arguments: list[str], says: str) -> None:
    done = CliRunner().invoke(bench, ["replay", *arguments], env={"COLUMNS": "200"})
    assert done.exit_code != 0
    assert says in done.output


@pytest.mark.parametrize("name", FAMILY_NAMES)
async def test_a_family_is_the_same_whenever_it_is_made(name: str) -> None:
    trace = family(name)
    assert trace == family(name)
    assert trace != family(name, seed=2)
    first = Trace(trace.rows[:150])
    played = await compare(name, first, default_world())
    assert played.clairvoyant_usd <= played.bills["limpet"].usd * (1 + 1e-9)
    assert name in svg([played])


def test_nothing_is_left_of_a_broken_line(tmp_path: Path) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text('{"timestamp": 0, "input_length": 9, "output_length": 1, "hash_ids": [1]}\n{"timestamp": 1}\n')
    done = CliRunner().invoke(bench, ["replay", str(file)], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert "1 of 2 lines are left out: line 2" in done.output
