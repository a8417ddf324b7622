"""`limpet prices`: an open price list, as a file that the user names, becomes Pricings or is compared with them."""

import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from limpet_operator.pricelists.checking import checked, exit_status_of
from limpet_operator.pricelists.choosing import ChoiceError, ChosenPrices, chosen_by_name, chosen_for
from limpet_operator.pricelists.fitting import fitting_hours
from limpet_operator.pricelists.listed import OpenList, UnusableListError
from limpet_operator.pricelists.pricing import TooMuchError, pricing_of
from limpet_operator.pricelists.reading import read_list
from limpet_operator.pricelists.telling import told
from limpet_operator.resources.objects import Objects, Parser
from limpet_operator.resources.provider import Provider
from limpet_operator.sources.chosen_place import (
    ClusterChoice,
    FromCluster,
    Kubeconfig,
    Namespaces,
    UnreadablePlaceError,
    asked_of_cluster,
    chosen_place,
    objects_of_files,
    say_invalid_providers,
)
from limpet_operator.sources.read_once import read_objects
from limpet_operator.sources.readable_yaml import readable_yaml

prices = typer.Typer(
    help="Price lists: models.dev's api.json or LiteLLM's model_prices_and_context_window.json, as a file.",
    no_args_is_help=True,
)

ListFile = Annotated[Path, typer.Argument(metavar="FILE", help="The price list, as it was downloaded.")]
_LOCALE_FREE: Final = "%Y-%m-%d"


@prices.command("import")
def import_prices(
    file: ListFile,
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]",
            help="Directory or file with Providers: a Pricing for each, by their vendors and models.",
            show_default=False,
        ),
    ] = None,
    provider: Annotated[
        list[str],
        typer.Option(
            metavar="NAME[=OURS]",
            help="A provider of the list, and your Provider's name if it differs; with DIR: a Provider. Repeatable.",
        ),
    ] = [],  # noqa: B006 (typer's way to say none)
    model: Annotated[
        list[str],
        typer.Option(
            metavar="NAME[=OURS]",
            help="A model, and its name at your Provider if it differs; or a pattern such as 'gpt-*'. Repeatable.",
        ),
    ] = [],  # noqa: B006
    retrieved: Annotated[
        str | None,
        typer.Option(
            metavar="YYYY-MM-DD", help="Day on which the list was downloaded.  [default: the file's own date]"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to write them, once all is well: the file changes at one stroke.  [default: stdout]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Print the Pricings that a price list means, as YAML.

    What the list has and they can't hold is said on stderr.
    """
    listed = _listed(file, "import")
    day = _day(retrieved) if retrieved else _day_of(file)
    try:
        chosen = (
            chosen_by_name(listed, provider, model)
            if directory is None
            else chosen_for(_objects(directory, "import").of(Provider), listed, provider, model)
        )
        chosen = [_with_hours_that_fit(each) for each in chosen]
        pricings = [
            pricing_of(each.provider, each.namespace, each.models, listed.name, day) for each in chosen if each.models
        ]
    except (ChoiceError, TooMuchError) as error:
        raise _failed("import", f"{file}: {error}") from error
    _tell(listed, chosen)
    if not pricings:
        raise _failed("import", f"{file}: nothing of it could be taken over")
    if output is None:
        print(readable_yaml(pricings), end="", flush=True)
        return
    try:
        _write(output, readable_yaml(pricings))
    except OSError as error:
        raise _failed("import", f"{output}: {error.strerror}; name a file that can be written") from error


@prices.command("check")
def check_prices(
    file: ListFile,
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]",
            help="Directory or file with the Pricings and Providers that are applied.",
            show_default=False,
        ),
    ] = None,
    provider: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=OURS", help="What the list calls a Provider whose vendor does not tell. Repeatable."
        ),
    ] = [],  # noqa: B006
    from_cluster: FromCluster = False,
    kubeconfig: Kubeconfig = None,
    namespace: Namespaces = [],  # noqa: B006
) -> None:
    """Compare the Pricings that are applied with a price list: a line for each model. Status 1 if any differs."""
    place = chosen_place(directory, from_cluster, kubeconfig, namespace, "DIR")
    listed_as = {ours: name for name, _, ours in (each.partition("=") for each in provider)}
    if "" in listed_as:
        message = f"{listed_as['']} lacks the name of your Provider; write NAME-IN-THE-LIST=YOUR-NAME"
        raise typer.BadParameter(message, param_hint="--provider")
    listed = _listed(file, "check")
    objects = _objects(place, "check") if isinstance(place, Path) else _of_cluster(place)
    results = list(checked(objects, listed, listed_as, time.time()))
    for result in results:
        typer.echo(str(result))
    if not results and directory is None:
        where = f"namespace {', '.join(namespace)}" if namespace else "the cluster"
        raise _failed("check", f"{where} has no Pricings; which one is asked says 'kubectl config current-context'")
    if not results:
        raise _failed("check", f"{directory} has no Pricings; name the directory or file that has")
    raise typer.Exit(exit_status_of(results))


def _with_hours_that_fit(chosen: ChosenPrices) -> ChosenPrices:
    models, remarks = fitting_hours(chosen.provider, chosen.models)
    return replace(chosen, models=models, remarks=(*chosen.remarks, *remarks))


def _tell(listed: OpenList, chosen: Iterable[ChosenPrices]) -> None:
    of_providers = [remark for remark in listed.remarks if not remark.model]
    for line in told([*of_providers, *(remark for each in chosen for remark in each.remarks)]):
        _say(line)


def _write(output: Path, text: str) -> None:
    """At one stroke, as a gateway may be watching; under a name that no directory of objects is read by until then."""
    beside = output.with_name(f".{output.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(output)


def _listed(file: Path, command: str) -> OpenList:
    try:
        return read_list(file.read_bytes())
    except OSError as error:
        raise _failed(command, f"{file}: {error.strerror}; name a price list that you have downloaded") from error
    except UnusableListError as error:
        raise _failed(command, f"{file}: {error}") from error


def _objects(directory: Path, command: str) -> Objects:
    try:
        return objects_of_files(directory, _say)
    except UnreadablePlaceError as error:
        raise _failed(command, str(error)) from error


def _of_cluster(choice: ClusterChoice) -> Objects:
    parser = Parser.load()
    try:
        objects = asked_of_cluster(
            choice, lambda api: read_objects(api, parser, ("Provider", "Pricing"), choice.namespaces)
        )
    except UnreadablePlaceError as error:
        raise _failed("check", str(error)) from error
    say_invalid_providers(objects, _say)
    return objects


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        message = f"{text} is no day; write it as 2026-11-20"
        raise typer.BadParameter(message, param_hint="--retrieved") from error


def _day_of(file: Path) -> str:
    return datetime.fromtimestamp(file.stat().st_mtime, UTC).strftime(_LOCALE_FREE)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _failed(command: str, message: str) -> typer.Exit:
    _say(f"limpet prices {command}: {message}")
    return typer.Exit(1)
