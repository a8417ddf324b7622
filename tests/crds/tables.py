"""The tables of good and bad objects, one file for each kind; providers.yaml explains the fields."""

from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
CRDS = HERE.parents[1] / "crds"
TABLES = {path.name: yaml.safe_load(path.read_text()) for path in sorted(HERE.glob("*.yaml"))}
GOOD = [(table, change) for table in TABLES.values() for change in table["good"]]
BAD = [(table, case) for table in TABLES.values() for case in table["bad"]]


def changed(table: dict[str, Any], change: dict[str, Any], name: str = "x") -> dict[str, Any]:
    """The table's object with a change laid over its spec."""
    spec = {field: value for field, value in (table["spec"] | change).items() if value is not None}
    return {"apiVersion": "limpet.dev/v1alpha1", "kind": table["kind"], "metadata": {"name": name}, "spec": spec}
