"""The workflow of GitHub Actions, by actionlint, which is built once on this machine and needs the network for that."""

import os
import subprocess
from pathlib import Path

from limpet_lab.kubernetes.assets import Source

ROOT = Path(__file__).parents[2]
ACTIONLINT = Source(
    Path(__file__).with_name("actionlint"),
    {"actionlint": ("github.com/rhysd/actionlint/cmd/actionlint", "-s -w")},
    "Building actionlint: some seconds, once on this machine.",
)


def test_actionlint_has_no_complaint() -> None:
    program = ACTIONLINT.provide(dict(os.environ)) / "actionlint"
    done = subprocess.run([program, "-color=false"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_runs_commands_of_the_makefile() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    targets = {line.split(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if ":" in line}
    used = {words.split()[0] for words in workflow.split("make ")[1:]}
    assert {"check", "test", "dist"} <= used <= targets
