"""What the Makefile runs is valid shell, and `make test` runs what docs/testing.md says."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def commands(*arguments: str) -> str:
    """The commands that make would run."""
    # The make that runs these tests hands on its own T.
    handed_on = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "AT_ONCE", "T"}
    variables = {name: value for name, value in os.environ.items() if name not in handed_on}
    dry_run = ["make", "--no-print-directory", "--dry-run", "--always-make", *arguments]
    return subprocess.run(dry_run, cwd=ROOT, env=variables, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["test"],
        ["test", "T=tests"],
        ["test", "T=tests/operator/planning"],
        ["test", "T=tests/cluster/e2e/test_readme.py"],
        ["test", "T=tests/envoy/test_tls.py::test_name[a case]"],
        ["demo", "install", "dist", "test-fast", "fuzz", "check", "bench", "lock", "clean"],
    ],
    ids=" ".join,
)
def test_every_command_is_valid_shell(arguments: list[str]) -> None:
    subprocess.run(["sh", "-n"], input=commands(*arguments), text=True, check=True)


@pytest.mark.parametrize(("arguments", "processes"), [([], 4), (["AT_ONCE=1"], 1)])
def test_files_run_side_by_side_each_process_in_a_world(arguments: list[str], processes: int) -> None:
    (line,) = (line for line in commands("test", *arguments).splitlines() if "--tx" in line)
    assert "--dist loadfile" in line
    assert f"{processes}*popen//python=.venv/bin/python -m tests.cluster.world .venv/bin/python" in line


def test_one_part_runs_in_one_process_and_in_a_world_where_it_needs_one() -> None:
    assert commands("test", "T=tests/docs").splitlines()[-1] == ".venv/bin/python -m pytest 'tests/docs'"
    assert commands("test", "T=tests/envoy").splitlines()[-1] == (
        ".venv/bin/python -m tests.cluster.world .venv/bin/python -m pytest 'tests/envoy'"
    )
