"""`limpet simulate FILE`: runs the sellers of a file in the foreground until Ctrl-C, one process each."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from limpet_lab.sim.config import ConfigError, SellerConfig, load_sellers
from limpet_lab.sim.sellers import SellerFailedError, Sellers

_LOOK_EVERY_S: Final = 0.25


def simulate(
    file: Annotated[
        Path, typer.Argument(help="YAML with the simulated sellers, for example examples/quickstart/sellers.yaml.")
    ],
) -> None:
    """Run simulated providers with real cache rules, usage fields, faults and bills."""
    raise typer.Exit(run(file))


def announce(sellers: Sellers) -> None:
    """Print a line per seller: its name, its base URL, its models."""
    width = max(len(seller.name) for seller in sellers)
    for seller in sellers:
        models = ", ".join(model.name for model in seller.config.models)
        sys.stdout.write(f"{seller.name:<{width}}  {seller.base_url}  {models}\n")
    sys.stdout.flush()


def run(file: Path, ready: Callable[[Sellers], None] = announce) -> int:
    """Run the sellers of `file`, calling `ready` once all listen. Returns the exit code; problems go to stderr."""
    try:
        configs = load_sellers(file, os.environ)
        return asyncio.run(_until_ended(configs, ready))
    except (ConfigError, SellerFailedError) as error:
        sys.stderr.write(f"limpet simulate: {error}\n")
        return 1


async def _until_ended(configs: tuple[SellerConfig, ...], ready: Callable[[Sellers], None]) -> int:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    async with Sellers.start(configs) as sellers:
        ready(sellers)
        while not ended.is_set():
            for seller in sellers:
                if (code := seller.exit_code) is not None:
                    raise SellerFailedError(
                        f"seller {seller.name}: its process ended with code {code}; all sellers are stopped"
                    )
            try:
                await asyncio.wait_for(ended.wait(), _LOOK_EVERY_S)
            except TimeoutError:
                continue
    return 0
