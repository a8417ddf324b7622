"""`limpet bench infron` through the real Envoy: all rule sets, and a gateway of the user's own."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from limpet_lab.bed import Bed
from limpet_lab.bench.command import bench
from limpet_lab.demo.quickstart import MODEL, quickstart_sellers

_LIMPET = [sys.executable, "-c", "from limpet_operator.cli import main; main()"]
_LIMIT_S = 120


def _infron(*flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_LIMPET, "bench", "infron", *flags], capture_output=True, text=True, timeout=_LIMIT_S, check=False
    )


@pytest.mark.envoy
def test_ours_hits_every_round_and_costs_least(tmp_path: Path) -> None:
    file = tmp_path / "infron.json"
    done = _infron("--rounds", "12", "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(file.read_text())
    ours = figures["limpet"]
    assert (ours["rounds"], ours["rounds_hit"], ours["avg_cached_tokens"]) == (12, 12, 4096.0)
    assert ours["token_hit_rate"] == pytest.approx(4096 / 4213)
    assert figures["openrouter_session_id"]["rounds_hit"] == 12
    for peer in ("no_memory", "openrouter"):
        assert figures[peer]["rounds"] == 12
        assert figures[peer]["rounds_hit"] < 12
        assert figures["ratios"][peer]["cost"] == pytest.approx(figures[peer]["cost_usd"] / ours["cost_usd"])
        assert figures["ratios"][peer]["cost"] > 1
    assert "97.22%" in done.stdout


@pytest.mark.envoy
async def test_a_gateway_of_ones_own(tmp_path: Path) -> None:
    prompt, file = tmp_path / "prompt.txt", tmp_path / "own.json"
    prompt.write_text("Answer for the harbour office. " * 100)
    async with Bed.start(quickstart_sellers(), model=MODEL) as bed:
        figures = await _own(bed, prompt, file, "--price-input=1", "--price-cache-read=0.1", "--price-output=2")
        assert figures["rounds_hit"] == figures["rounds"] == 3
        assert 0 < figures["input_cost_usd"] < figures["cost_usd"] < figures["cost_both_calls_usd"]
        figures = await _own(bed, prompt, file)
        assert figures["rounds_hit"] == 3
        assert figures["cost_usd"] is None


async def _own(bed: Bed, prompt: Path, file: Path, *flags: str) -> dict[str, Any]:
    where = (f"--prompt-file={prompt}", f"--model={MODEL}", f"--base-url={bed.base_url}", f"--json={file}")
    return await asyncio.to_thread(_figures, file, "--rounds=3", *where, *flags)


def _figures(file: Path, *flags: str) -> dict[str, Any]:
    done = _infron(*flags)
    assert done.returncode == 0, done.stdout + done.stderr
    figures: dict[str, Any] = json.loads(file.read_text())["gateway"]
    return figures


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--model", "m"], "also give --prompt-file and --base-url"),
        (["--price-input", "1"], "prices are for your own gateway"),
        (["--prompt-file", "none.txt", "--model", "m", "--base-url", "http://127.0.0.1:9/v1"], "can't be read"),
        (["--rounds", "2"], "--rounds"),
        (["--json", "no/such/place.json"], "the directory no/such does not exist"),
    ],
)
def test_wrong_flags_are_explained(flags: list[str], problem: str) -> None:
    done = CliRunner().invoke(bench, ["infron", *flags])
    assert done.exit_code == 2
    assert problem in " ".join(done.output.replace("│", " ").split())


@pytest.mark.slow
def test_a_gateway_that_is_not_there(tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("hello")
    done = _infron("--rounds=3", f"--prompt-file={prompt}", "--model=m", "--base-url=http://127.0.0.1:9/v1")
    assert done.returncode == 1
    assert "a request to http://127.0.0.1:9/v1 failed" in done.stdout
    assert "Traceback" not in done.stderr
