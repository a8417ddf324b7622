"""`limpet activity` and `limpet status`: what requests did, and how providers are doing, in a terminal."""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import typer

from limpet_activity.terminal.asking import AskedPage, NoAnswerError, asking
from limpet_activity.terminal.lines import ListedRecord, ProviderList, plain, record_line, status_lines

_PAGE: Final = 200
_POLL_S: Final = 1.0
_MOST_CHARS: Final = 1000
"""Of what went wrong."""

PageUrl = Annotated[
    str | None,
    typer.Option(help="The activity page of an installation, such as http://127.0.0.1:8600; default: 'limpet up'."),
]
PageTokenFile = Annotated[Path | None, typer.Option(help="File with the token of that page.", dir_okay=False)]
StoreUrl = Annotated[str | None, typer.Option(help="Read this store: sqlite:///FILE or postgresql://USER@HOST/NAME.")]
OnlyThese = Annotated[str, typer.Option(help="Only these.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON; the keys are in docs/activity.md.")]


def activity(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with each new request.")] = False,
    conversation: Annotated[str, typer.Option(help="Its key, or the beginning.", show_default=False)] = "",
    provider: OnlyThese = "",
    model: OnlyThese = "",
    tenant: Annotated[str, typer.Option(help="Only those of this client.", show_default=False)] = "",
    reason: Annotated[
        str, typer.Option(help="Why it went there; 'sticky.' is all that begin so.", show_default=False)
    ] = "",
    cause: Annotated[str, typer.Option(help="Why it read from a cache what it read.", show_default=False)] = "",
    gateway: Annotated[str, typer.Option(help="Only those of this gateway, by its id.", show_default=False)] = "",
    since: Annotated[str, typer.Option(help="30m, 6h, 7d, or a time in UTC.", show_default=False)] = "",
    until: Annotated[str, typer.Option(help="Likewise.", show_default=False)] = "",
    failed: Annotated[
        bool | None, typer.Option("--failed/--served", help="Only those that got no good answer, or that did.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="The newest so many.", min=1, max=1_000_000)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print each record as a line of JSON.")] = False,
    url: PageUrl = None,
    token_file: PageTokenFile = None,
    store: StoreUrl = None,
) -> None:
    """What requests did and cost, the newest last. Times are the machine's."""
    which = {
        "conversation": conversation,
        "provider": provider,
        "model": model,
        "tenant": tenant,
        "reason": reason,
        "cause": cause,
        "gateway": gateway,
        "since": since,
        "until": until,
        "failed": "" if failed is None else "yes" if failed else "no",
    }
    show = _show_json if as_json else _show_line

    async def listing(asked: AskedPage) -> None:
        last = (await asked.get("state", {}))["last"] if follow else 0
        newest: list[Any] = []
        older = ""
        while len(newest) < limit:
            page = await asked.get("activity", {**which, "older": older, "limit": str(min(_PAGE, limit - len(newest)))})
            newest += page["records"]
            older = page["older"] or ""
            if not older:
                break
        for record in reversed(newest):
            show(record)
        if not newest and not follow and not as_json:
            typer.echo("No record is kept that matches.", err=True)
        while follow:
            page = await asked.get("activity", {**which, "after": str(last), "limit": str(_PAGE)})
            last = page["last"]
            for record in page["records"]:
                show(record)
            if len(page["records"]) < _PAGE:
                await asyncio.sleep(_POLL_S)

    _run("activity", listing, url, token_file, store)


def status(
    since: Annotated[
        Literal["1h", "6h", "24h", "7d", "30d"], typer.Option(help="Of what time requests count.")
    ] = "24h",
    as_json: AsJson = False,
    url: PageUrl = None,
    token_file: PageTokenFile = None,
    store: StoreUrl = None,
) -> None:
    """How each provider is doing, what it served and read from its cache, and what it cost."""

    async def showing(asked: AskedPage) -> None:
        found = await asked.get("providers", {"range": since})
        if as_json:
            typer.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
            return
        for line in status_lines(msgspec.convert(found, ProviderList), time.time()):
            typer.echo(line)

    _run("status", showing, url, token_file, store)


def _show_line(record: Mapping[str, Any]) -> None:
    typer.echo(record_line(msgspec.convert(record, ListedRecord)))


def _show_json(record: Mapping[str, Any]) -> None:
    typer.echo(msgspec.json.encode(record).decode())


def _run(
    command: str,
    ask: Callable[[AskedPage], Coroutine[None, None, None]],
    url: str | None,
    token_file: Path | None,
    store: str | None,
) -> None:
    async def asked() -> None:
        async with asking(url, token_file, store, os.environ) as found:
            await ask(found)

    try:
        asyncio.run(asked())
    except NoAnswerError as error:
        typer.echo(plain(f"limpet {command}: {error}", _MOST_CHARS), err=True)
        raise typer.Exit(1) from error
    except msgspec.ValidationError as error:
        why = f"limpet {command}: what answers is not a page of this version: {error}"
        typer.echo(plain(why, _MOST_CHARS), err=True)
        raise typer.Exit(1) from error
    except (KeyboardInterrupt, BrokenPipeError):
        raise typer.Exit(0) from None
