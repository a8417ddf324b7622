"""A stage over a `limpet up` that the story runs, and the files that it reads."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.envoy.command import Command, write
from tests.envoy.stage import Stage
from tests.waiting import until

from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser


def stage_over(number: int, sellers: Sellers, command: Command, parser: Parser) -> Stage:
    """A stage whose gateway is the command."""
    return Stage(number, sellers, command, parser, command.metrics_port + 1)


def write_providers(
    directory: Path, stage: Stage, *names: str, specs: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """A file for each of these sellers, with their Provider, Secret and Pricing."""
    for name in names:
        write(directory, f"{name}.yaml", stage.objects([name], specs or {}, {}))


async def until_served(stage: Stage, *names: str) -> None:
    """Return when these sellers serve the stage's model, and no other does."""
    wanted = {stage.provider(name) for name in names}

    async def served() -> bool:
        return await stage.announced() == wanted

    await until(served, f"{sorted(wanted)} to serve")
