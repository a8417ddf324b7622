"""`limpet plan`: one's own traffic over the providers that one considers, before buying."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from limpet_lab.demo.json_file import JsonFile, write_figures
from limpet_lab.plan.costs import ModelCosts, costs_of
from limpet_lab.plan.logged import LoggedRequest, RequestLog, log_of_lines
from limpet_lab.plan.prompts import rows_of
from limpet_lab.plan.show import table_of
from limpet_lab.replay.json_lines import TraceError, lines_of
from limpet_lab.replay.limpet import RefusedError
from limpet_lab.replay.providers import KnownProviders, ProvidersError, load_providers
from limpet_lab.replay.sellers import sellers_of
from limpet_lab.replay.trace import TraceRow, trace_of

_MONDAY_S: Final = datetime(2026, 11, 30, tzinfo=UTC).timestamp()
"""When a log begins whose times are no dates."""
_WIDE: Final = 160
"""Columns of what is written to a file, so that no name is cut."""
_SHORT_S: Final = 86_400.0


class PlanError(Exception):
    """There is nothing to plan; the message says what is missing."""


def plan(
    requests: Annotated[
        Path,
        typer.Argument(
            metavar="REQUESTS.jsonl",
            help="An object a line: at, prompt_tokens, output_tokens; model, conversation and system_tokens if known.",
        ),
    ],
    providers: Annotated[
        Path, typer.Option(metavar="DIR", help="Directory or file with the Providers and Pricings to consider.")
    ],
    model: Annotated[
        str | None, typer.Option(help="The model that all requests are for, as the Providers name it.")
    ] = None,
    most: Annotated[
        int, typer.Option(help="How many requests of a model are replayed, the latest ones.", min=2)
    ] = 3000,
    json_file: JsonFile = None,
) -> None:
    """Say what this traffic would cost a month at these providers and sets of them, with Limpet and without.

    The requests are replayed on a virtual clock over simulated providers with real cache rules. Nothing is sent.
    """
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDE)
    try:
        asyncio.run(_plan(requests, providers, model, most, json_file, console))
    except (TraceError, ProvidersError, PlanError, RefusedError) as error:
        console.print(f"limpet plan: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


async def _plan(
    file: Path, directory: Path, model: str | None, most: int, json_file: Path | None, console: Console
) -> None:
    def note(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    known = load_providers(directory)
    for problem in known.problems:
        note(problem)
    planned: list[ModelCosts] = []
    for name, rows, begin_s, notes in _traffic(file, known, model, most):
        for text in notes:
            note(f"{file}: {text}")
        sellers = sellers_of(known.catalog, name, known.vendor_of)
        _note_unpriced(name, known, [each.name for each in sellers], note)
        if not sellers:
            note(f"{name}: no Provider has a price for it; add its Pricing (limpet prices import)")
            continue
        with console.status(name) as status:
            costs = await costs_of(name, rows, known.catalog, sellers, begin_s, say=status.update)
        console.print(table_of(costs))
        if costs.seconds < _SHORT_S:
            note("The log is shorter than a day, so a month may differ much: try one of a week.")
        planned.append(costs)
    if not planned:
        raise PlanError(f"{file}: no request is for a model that a Provider in {directory} serves for a known price")
    figures: dict[str, Any] = {"models": {each.model: each.as_json() for each in planned}}
    write_figures(json_file, figures)


def _traffic(
    file: Path, known: KnownProviders, model: str | None, most: int
) -> list[tuple[str, tuple[TraceRow, ...], float, tuple[str, ...]]]:
    """By model: its requests, when they begin, and notes. A file in the form of a trace is taken as it is."""
    lines = lines_of(file)
    served = sorted({each.name for provider in known.catalog.providers for each in provider.models})
    if any(b'"hash_ids"' in line for line in lines[:1]):
        trace = trace_of(lines, str(file))
        name = _only_model(served, model, "a trace names no models")
        return [(name, trace.rows[-most:], _MONDAY_S, (*trace.notes, *_cut(name, len(trace.rows), most)))]
    log = log_of_lines(lines, str(file))
    notes = log.notes if log.has_dates else (*log.notes, "times are no dates: taken as from a Monday on, 00:00 UTC")
    traffic = []
    for name, requests in _by_model(log, served, model).items():
        latest = requests[-most:]
        begin_s = latest[0].at_s if log.has_dates else _MONDAY_S + latest[0].at_s
        traffic.append((name, rows_of(latest), begin_s, (*notes, *_cut(name, len(requests), most))))
        notes = ()
    return traffic


def _cut(name: str, requests: int, most: int) -> tuple[str, ...]:
    return (f"{name}: the latest {most:,} of {requests:,} requests are replayed (--most)",) if requests > most else ()


def _by_model(log: RequestLog, served: Sequence[str], model: str | None) -> dict[str, list[LoggedRequest]]:
    """The requests by the name of a model that somebody serves."""
    by_model: dict[str, list[LoggedRequest]] = {}
    for request in log.requests:
        name = model or request.model or _only_model(served, None, "not all requests name a model")
        by_model.setdefault(name, []).append(request)
    unknown = sorted(by_model.keys() - set(served))
    if len(unknown) == len(by_model):
        raise PlanError(
            f"the requests are for {', '.join(unknown)}, the Providers have {', '.join(served)}; if these are the same "
            "under other names, say which by --model"
        )
    return {name: requests for name, requests in by_model.items() if name in served}


def _only_model(served: Sequence[str], model: str | None, why: str) -> str:
    if model is not None:
        if model not in served:
            raise PlanError(f"no Provider has the model {model}; they have {', '.join(served)}")
        return model
    if len(served) != 1:
        raise PlanError(f"{why}, and the Providers have several: say which by --model: {', '.join(served)}")
    return served[0]


def _note_unpriced(model: str, known: KnownProviders, priced: Sequence[str], note: Callable[[str], None]) -> None:
    for provider in known.catalog.providers:
        if provider.name not in priced and any(each.name == model for each in provider.models):
            note(f"{model}: {provider.name} has no price for it and is in no set")
