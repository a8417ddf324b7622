"""`limpet demo` as a user starts it."""

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from limpet_lab.demo.show import LiveScreen, PlainScreen, screen_for
from limpet_lab.demo.talk import Turn


@pytest.mark.envoy
def test_the_demo_keeps_its_promises(tmp_path: Path) -> None:
    file = tmp_path / "demo.json"
    command = [sys.executable, "-c", "from limpet_operator.cli import main; main()", "demo", "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    figures = json.loads(file.read_text())
    sticky, off, lost = figures["sticky"], figures["off"], figures["failover"]
    assert sticky["second_turn_hits"] == sticky["second_turns"] == off["second_turns"] == 6
    assert off["cached_share"] < sticky["cached_share"]
    assert off["usd"] > sticky["usd"] > 0
    spent = figures["ledger"]
    assert spent["paid_usd"] == pytest.approx(sticky["usd"], rel=0.01)
    assert spent["paid_usd"] < spent["spread_usd"] < spent["uncached_usd"]
    assert lost["client_errors"] == sticky["client_errors"] == off["client_errors"] == 0
    assert lost["on_killed"] == lost["moved_within_one_turn"] == lost["stayed_moved"] > 0
    assert all(len(set(providers)) == 1 for providers in sticky["served"].values())
    assert "% less." in done.stdout.replace("\n", " ")


@pytest.mark.parametrize(("terminal", "kind"), [(True, LiveScreen), (False, PlainScreen)])
def test_every_turn_is_shown_on_a_terminal_and_in_a_pipe(terminal: bool, kind: type[PlainScreen]) -> None:
    out = StringIO()
    screen = screen_for(Console(file=out, force_terminal=terminal, width=100))
    assert type(screen) is kind
    with screen.scene("a part", ["x", "y"], 2) as heard:
        heard(Turn("x", 1, "seller-a", "first.scored", 100, 0))
        heard(Turn("x", 2, "seller-b", "sticky.hit", 100, 64))
        heard(Turn("y", 1, error="APIConnectionError: gone"))
    shown = out.getvalue()
    assert all(words in shown for words in ("a part", "seller-a", "seller-b", "APIConnectionError: gone"))
