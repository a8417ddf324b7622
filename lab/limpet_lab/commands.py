"""What the lab adds to the `limpet` command."""

from pathlib import Path
from typing import Annotated

import typer

from limpet_lab import simulate as simulation


def simulate(
    file: Annotated[
        Path, typer.Argument(help="YAML with the simulated sellers, for example examples/quickstart/sellers.yaml.")
    ],
) -> None:
    """Run simulated providers with real cache rules, usage fields, faults and bills."""
    raise typer.Exit(simulation.run(file))
