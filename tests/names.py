"""No type name defined twice in the packages: `python -m tests.names`, a part of `make check`."""

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = ("operator/limpet_operator", "extproc/limpet_extproc", "activity/limpet_activity", "lab/limpet_lab")

ALLOWED: Final[Mapping[str, str]] = {
    "JsonLines": "a form of log lines, and a file of records",
    "Step": "of time, in a chart; and what the holder of a Lease does next",
    "_Key": "private, and each what its own table goes by",
}
"""Names that may stand in several modules, each with the reason."""


def types(module: ast.Module) -> Iterator[tuple[str, int]]:
    """Its classes and type aliases (`Name = …` at the top level), with their lines."""
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            yield node.name, node.lineno
    for node in module.body:
        match node:
            case ast.Assign(targets=[ast.Name(name)]) | ast.AnnAssign(target=ast.Name(name), value=ast.expr()):
                if name.lstrip("_")[:1].isupper() and not name.isupper():
                    yield name, node.lineno


def places(root: Path) -> dict[str, list[str]]:
    """By type name: where it is defined."""
    found = defaultdict(list)
    for file in sorted(file for package in PACKAGES for file in (root / package).rglob("*.py")):
        for name, line in types(ast.parse(file.read_text())):
            found[name].append(f"{file.relative_to(root)}:{line}")
    return found


def problems(found: Mapping[str, list[str]], allowed: Mapping[str, str]) -> Iterator[str]:
    """A line for each name that is defined twice, and for each exception that is no longer one."""
    for name, where in sorted(found.items()):
        if len(where) > 1 and name not in allowed:
            yield f"type {name} is defined {len(where)} times: {', '.join(where)}; rename, or list it in tests/names.py"
    for name in sorted(allowed):
        if len(found.get(name, [])) < 2:
            yield f"type {name} is defined once: remove it from the exceptions of tests/names.py"


if __name__ == "__main__":
    sys.exit("\n".join(problems(places(ROOT), ALLOWED)) or None)
