"""`limpet demo`: runs the demo, shows it, and reports what did not work."""

import asyncio

import openai
import typer
from rich.console import Console

from limpet_lab.demo.json_file import JsonFile, write_figures
from limpet_lab.demo.play import PolicyNotInForceError, play
from limpet_lab.demo.result import problems
from limpet_lab.demo.show import screen_for, show
from limpet_lab.sim.config import ConfigError
from limpet_lab.sim.sellers import SellerFailedError
from limpet_operator.laptop.children import ChildDied
from limpet_operator.laptop.listen import CannotStart


def demo(json_file: JsonFile = None) -> None:
    """Route real conversations over three simulated sellers, with stickiness and without, and kill one of them."""
    console = Console()
    try:
        result = asyncio.run(play(screen_for(console)))
    except (CannotStart, ChildDied, ConfigError, PolicyNotInForceError, SellerFailedError, openai.APIError) as error:
        _complain(console, str(error))
        raise typer.Exit(1) from error
    show(result, console)
    write_figures(json_file, result.as_json())
    found = problems(result)
    for problem in found:
        _complain(console, problem)
    if found:
        raise typer.Exit(1)


def _complain(console: Console, problem: str) -> None:
    console.print(f"limpet demo: {problem}", style="red", markup=False, highlight=False, soft_wrap=True)
