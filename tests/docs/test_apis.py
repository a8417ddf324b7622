"""`docs/apis.md` has a row for each test of an SDK's call, and a test for each row."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "envoy" / "sdk"


def named() -> list[str]:
    """The last column of every table of calls."""
    return re.findall(r"\| `(test_\w+\.py::test_\w+)` \|$", (ROOT / "docs" / "apis.md").read_text(), re.MULTILINE)


def defined() -> set[str]:
    """The tests of all files in the folder."""
    return {
        f"{file.name}::{node.name}"
        for file in FOLDER.glob("test_*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_each_row_names_a_test_that_exists_and_each_test_has_one_row() -> None:
    assert len(named()) > 50
    assert sorted(named()) == sorted(defined())


def test_no_row_is_without_a_test() -> None:
    for line in (ROOT / "docs" / "apis.md").read_text().splitlines():
        if line.count("|") == 5 and not line.startswith(("| call", "|---")):
            assert "::test_" in line, line
