"""`limpet explain`: what Limpet would do with a request, and why, before or without sending it."""

import asyncio
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from limpet_extproc.contract.explanation import Explanation, encode
from limpet_lab.explain.asked import AskedError, AskedRequest, asked_request
from limpet_lab.explain.gateway import GatewayError, explain_running
from limpet_lab.explain.planned import explain_planned
from limpet_lab.explain.show import shown
from limpet_lab.replay.providers import ProvidersError, load_providers

_WIDE: Final = 160
"""Columns of what is written to a file, so that no name is cut."""


def explain(
    request: Annotated[
        Path, typer.Argument(metavar="REQUEST.json", help="The body of a request, as a client sends it.")
    ],
    providers: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory or file with Providers: plan, remembering nothing.")
    ] = None,
    gateway: Annotated[
        str | None, typer.Option(metavar="URL", help="A running gateway, which answers by what it remembers.")
    ] = None,
    header: Annotated[
        list[str], typer.Option(metavar="'NAME: VALUE'", help="A header of the request; repeatable.")
    ] = [],  # noqa: B006 (typer's way to say none)
    path: Annotated[str, typer.Option(help="Which API is asked, by its path.")] = "/v1/chat/completions",
    key: Annotated[
        str | None, typer.Option(help="The client's key, as its SDK sends it.", envvar="OPENAI_API_KEY")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Say which provider a request would go to and why: identity, memory, costs, exclusions, edits. Nothing is sent."""
    try:
        told = _explanation(asked_request(request, path, header, key), providers, gateway)
    except (AskedError, GatewayError, ProvidersError) as error:
        _say_beside(f"limpet explain: {error}")
        raise typer.Exit(1) from error
    if as_json:
        print(encode(told))
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)
    for part in shown(told):
        console.print(part, markup=False, highlight=False, soft_wrap=isinstance(part, str))


def _explanation(asked: AskedRequest, directory: Path | None, gateway: str | None) -> Explanation:
    if gateway is not None and directory is None:
        return explain_running(asked, gateway)
    if directory is None or gateway is not None:
        raise AskedError("say whose decision: --providers DIR, or --gateway URL of one that runs")
    known = load_providers(directory)
    for problem in known.problems:
        _say_beside(problem)
    return asyncio.run(explain_planned(asked, known.catalog))


def _say_beside(text: str) -> None:
    """On standard error: what is printed as JSON stays JSON."""
    Console(stderr=True).print(text, markup=False, highlight=False, soft_wrap=True)
