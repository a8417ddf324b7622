"""Where a command writes its figures for programs: checked before the run, not after it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer


def _writable(file: Path | None) -> Path | None:
    if file is not None and not file.absolute().parent.is_dir():
        raise typer.BadParameter(f"the directory {file.parent} does not exist: create it, or write elsewhere")
    return file


JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--json",
        help="Write the figures there, as JSON; docs/benchmarks.md explains the keys (limpet plan: docs/plan.md).",
        callback=_writable,
        dir_okay=False,
        writable=True,
    ),
]


def write_figures(file: Path | None, figures: Mapping[str, Any]) -> None:
    """Write them, if they were asked for. Raises OSError."""
    if file is not None:
        file.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
