"""`limpet prices`: what it prints, what it says of what it could not do, and the status it ends with."""

import json
import os
from pathlib import Path

import pytest
import yaml
from tests.operator.conftest import Build
from tests.operator.pricelists.samples import LITELLM, MODELS_DEV
from typer.testing import CliRunner, Result

from limpet_operator.cli import application


def _limpet(*arguments: str) -> Result:
    return CliRunner().invoke(application(arguments), arguments, env={"COLUMNS": "200", "TERM": "dumb"})


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    file = tmp_path / "prices.json"
    file.write_text(json.dumps(LITELLM))
    os.utime(file, (1_790_000_000, 1_790_000_000))
    return file


def test_import_prints_pricings_and_says_what_is_not_in_them(listed: Path) -> None:
    result = _limpet("prices", "import", str(listed), "--provider", "tides", "--provider", "kelp=our-kelp")
    assert result.exit_code == 0
    tides, kelp = yaml.safe_load_all(result.stdout)
    assert [each["metadata"]["name"] for each in (tides, kelp)] == ["tides", "our-kelp"]
    assert tides["spec"]["source"] == {"name": "LiteLLM", "retrieved": "2026-09-21"}
    assert result.stderr.splitlines() == [
        "kelp kelp-large: a Pricing has no such price, so this is not in it: search_context_cost_per_query",
        "kelp kelp-large: service_tier priority changes its prices by no one factor: left out",
    ]


def test_import_for_the_providers_of_a_directory_and_then_check(listed: Path, tmp_path: Path, build: Build) -> None:
    directory = tmp_path / "limpet"
    directory.mkdir()
    model = {"name": "sea/tide", "upstreamName": "tide-1"}
    (directory / "provider.yaml").write_text(yaml.safe_dump(build.raw("Provider", "deepseek", models=[model])))
    flags = ("--provider", "tides=deepseek")
    result = _limpet("prices", "import", str(listed), str(directory), *flags, "--retrieved", "2026-11-20")
    assert (result.exit_code, result.stderr) == (0, "")
    (directory / "pricing.yaml").write_text(result.stdout)
    agreed = _limpet("prices", "check", str(listed), str(directory), *flags)
    assert (agreed.exit_code, agreed.stdout) == (0, "ok      deepseek sea/tide\n")
    (directory / "pricing.yaml").write_text(result.stdout.replace('"1.6"', '"1.7"'))
    differs = _limpet("prices", "check", str(listed), str(directory), *flags)
    assert differs.exit_code == 1
    assert differs.stdout.startswith("differs deepseek sea/tide: ")
    assert "output 1.7 and in the list 1.6" in differs.stdout


def test_a_model_with_too_many_hours_takes_no_other_out_of_the_import(tmp_path: Path) -> None:
    def off_peak(*hours: str) -> dict[str, object]:
        block = {"hours_utc": hours, "input_cost_per_token": 2e-07, "output_cost_per_token": 8e-07}
        return {**LITELLM["tides/tide-1"], "off_peak_pricing": block}

    file = tmp_path / "prices.json"
    many = [f"{number // 60:02}:{number % 60:02}-23:59" for number in range(32)]
    file.write_text(json.dumps({"tides/many": off_peak(*many), "tides/one": off_peak("02:00-03:00")}))
    result = _limpet("prices", "import", str(file))
    assert result.exit_code == 0
    assert result.stderr == (
        "tides many: with its hours the Pricing would have 33 windows, and it takes 32: left out, "
        "so its usual prices count at all hours\n"
    )
    spec = yaml.safe_load(result.stdout)["spec"]
    assert [each["name"] for each in spec["models"]] == ["many", "one"]
    assert [(each["from"], [model["name"] for model in each["models"]]) for each in spec["windows"]] == [
        ("02:00", ["one"])
    ]


def test_a_file_is_written_at_one_stroke_and_stays_as_it_was_where_that_fails(listed: Path, tmp_path: Path) -> None:
    written = tmp_path / "limpet" / "prices.yaml"
    written.parent.mkdir()
    flags = ("--provider", "tides", "--output", str(written))
    assert (_limpet("prices", "import", str(listed), *flags).exit_code, listed.exists()) == (0, True)
    text = written.read_text()
    assert yaml.safe_load(text)["metadata"]["name"] == "tides"
    listed.write_text("<html>no such page</html>")
    assert _limpet("prices", "import", str(listed), *flags).exit_code == 1
    assert written.read_text() == text
    assert list(written.parent.iterdir()) == [written]


def test_a_file_that_can_not_be_written_is_named(listed: Path, tmp_path: Path) -> None:
    result = _limpet("prices", "import", str(listed), "--provider", "tides", "--output", str(tmp_path / "no" / "file"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "No such file or directory; name a file that can be written" in result.stderr


def test_what_of_the_directory_can_not_be_read_is_said(listed: Path, tmp_path: Path, build: Build) -> None:
    directory = tmp_path / "limpet"
    directory.mkdir()
    (directory / "good.yaml").write_text(yaml.safe_dump(build.raw("Provider", "good")))
    (directory / "kimi.yaml").write_text(yaml.safe_dump(build.raw("Provider", "kimi", vendr="Moonshot")))
    (directory / "broken.yaml").write_text("kind: [")
    (directory / "prices.yaml").write_text(yaml.safe_dump(build.raw("Pricing", "kimi", providerRef={"name": "kimi"})))
    imported = _limpet("prices", "import", str(listed), str(directory))
    broken, kimi = imported.stderr.splitlines()[:2]
    assert broken.startswith("broken.yaml, document 1: left out: ")
    assert kimi.startswith("kimi.yaml, document 1: Provider kimi is left out: ")
    checked = _limpet("prices", "check", str(listed), str(directory))
    assert checked.stdout.startswith("skip    kimi: its Provider kimi is not valid; ")


def test_a_provider_that_stands_in_the_list_twice_is_said(tmp_path: Path) -> None:
    file, cost = tmp_path / "prices.json", '{"models": {"m": {"cost": {"input": %d, "output": 2}}}}'
    file.write_text(f'{{"a": {cost % 1}, "b": {cost % 1}, "b": {cost % 2}}}')
    result = _limpet("prices", "import", str(file))
    assert (result.exit_code, result.stderr) == (0, "b: stands in the list twice and not alike: left out\n")
    named = _limpet("prices", "import", str(file), "--provider", "b")
    assert "b stands in the list twice and not alike: left out" in named.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["import", "no-such.json"],
            "limpet prices import: no-such.json: No such file or directory; name a price list",
        ),
        (["import", "LIST"], "name yours with --provider: kelp, tides"),
        (["import", "LIST", "no-such-dir"], "limpet prices import: there is no directory no-such-dir"),
        (["import", "LIST", "--provider", "kelp", "--model", "kelp-huge"], "the list has no model kelp-huge there"),
        (["check", "LIST", "no-such-dir"], "limpet prices check: there is no directory no-such-dir"),
        (["check", "LIST", "EMPTY"], "has no Pricings; name the directory or file that has"),
    ],
)
def test_what_can_not_be_done_is_said(listed: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    places = {"LIST": str(listed), "EMPTY": str(empty)}
    result = _limpet("prices", *(places.get(each, each) for each in arguments))
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "LIST", "--provider", "kelp", "--retrieved", "yesterday"], "write it as 2026-11-20"),
        (["check", "LIST", "LIST", "--provider", "kelp"], "kelp lacks the name of your Provider"),
        (["check", "LIST"], "give either DIR or --from-cluster"),
        (["check", "LIST", "LIST", "--from-cluster"], "give either DIR or --from-cluster"),
        (["check", "LIST", "LIST", "--namespace", "a"], "is about a cluster: give --from-cluster, too"),
    ],
)
def test_a_wrong_flag_is_named(listed: Path, arguments: list[str], message: str) -> None:
    result = _limpet("prices", *(str(listed) if each == "LIST" else each for each in arguments))
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_list_of_which_nothing_can_be_taken_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({"p": {"models": {"kelp-plan": MODELS_DEV["kelp"]["models"]["kelp-plan"]}}}))
    result = _limpet("prices", "import", str(file))
    assert result.exit_code == 1
    assert "the list has no provider with a price that can be taken" in result.stderr
