"""The `limpet` command. Other parts add their own subcommands by the entry-point group `limpet.commands`."""

import asyncio
import errno
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import typer
from typer.core import TyperGroup

from limpet_extproc.contract.client_keys import ClientKeysMode
from limpet_operator.laptop.activity import USUAL_PORT, ActivityPlace, page_port
from limpet_operator.laptop.client_keys import as_keys
from limpet_operator.laptop.client_keys import client_keys as client_key_commands
from limpet_operator.laptop.listen import CannotStart, gateway_id, own_name, parse_listen
from limpet_operator.laptop.local import LocalSettings
from limpet_operator.laptop.render import render
from limpet_operator.laptop.state import prepared_state
from limpet_operator.laptop.up import up as run_up
from limpet_operator.laptop.validate import exit_status, render_line
from limpet_operator.laptop.validate import validate as validated
from limpet_operator.mesh.command import mesh
from limpet_operator.pricelists.command import prices
from limpet_operator.publish.origins import origin
from limpet_operator.resources.objects import Parser
from limpet_operator.resources.proxy import proxy_settings
from limpet_operator.sources import files

T = TypeVar("T")

Dir = Annotated[
    Path,
    typer.Argument(
        help="Directory of YAML files with Providers, Pricings, HealthProbes, StickyPolicies and Secrets, or one file."
    ),
]

HostNames = Annotated[
    list[str],
    typer.Option(help="Further host name that clients may call a loopback gateway by, as behind a tunnel; repeatable."),
]
Origins = Annotated[
    list[str],
    typer.Option(help="Further origin whose pages may use it, such as https://chat.example or *; repeatable."),
]


def up(
    directory: Dir,
    listen: Annotated[str, typer.Option(help="HOST:PORT where SDKs find the gateway.")] = "127.0.0.1:10000",
    allow_host: HostNames = [],  # noqa: B006 (typer's way to say none)
    cors_origin: Origins = [],  # noqa: B006
    client_keys: Annotated[
        Path | None,
        typer.Option(help="File with keys of clients: 'NAME: KEY' lines, or Secrets labelled limpet.dev/client-keys."),
    ] = None,
    client_keys_mode: Annotated[
        ClientKeysMode | None,
        typer.Option(
            case_sensitive=False,
            metavar="Required|Optional|Off",
            help="Whether clients need a key; by default Required with --client-keys, else Off.",
        ),
    ] = None,
    routing: Annotated[
        Literal["Metadata", "Header"] | None,
        typer.Option(
            case_sensitive=False,
            metavar="Metadata|Header",
            help="How Envoy receives the provider; Header is for Envoys without the priority-group specifier.",
        ),
    ] = None,
    metrics_port: Annotated[
        int,
        typer.Option(
            help="Loopback port of the control plane's metrics, the data plane's is the next one; 0: none.",
            min=0,
            max=65534,
        ),
    ] = 0,
    body_limit_mib: Annotated[
        int, typer.Option(help="Largest request body in MiB; a larger one is refused with 413.", min=1, max=1024)
    ] = 32,
    activity: Annotated[
        bool, typer.Option("--activity/--no-activity", help="Keep what every request did and cost, and show it.")
    ] = True,
    activity_port: Annotated[
        int | None,
        typer.Option(
            help=f"Loopback port of the activity page; by default {USUAL_PORT} or the next that is free.",
            min=1,
            max=65535,
        ),
    ] = None,
    extproc_server: Annotated[
        Literal["own", "grpcio"],
        typer.Option(
            help="What answers Envoy's calls in ext_proc: its own HTTP/2 server, or gRPC's at up to twice the CPU."
        ),
    ] = "own",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print a line for every decision.")] = False,
) -> None:
    """Run the gateway on this machine: real Envoy, both planes, no cluster."""
    host, port = _checked(parse_listen, listen, "--listen")
    if metrics_port and port in (metrics_port, metrics_port + 1):
        message = f"{port} is the gateway's own port; metrics take two others, this one and the next"
        raise typer.BadParameter(message, param_hint="--metrics-port")
    out, notes = proxy_settings(os.environ)
    for note in notes:
        _say_while_read(note)
    folder = _state_folder()
    settings = LocalSettings(
        host=host,
        port=port,
        own_names=tuple(_checked(own_name, each, "--allow-host") for each in allow_host),
        cors_origins=tuple(_checked(origin, each, "--cors-origin") for each in cors_origin),
        client_keys=client_keys_mode or ("Off" if client_keys is None else "Required"),
        node=gateway_id(host, port),
        header_mode=routing == "Header",
        verbose=verbose,
        body_limit_bytes=body_limit_mib * 1024 * 1024,
        proxies=out,
        extproc_metrics_port=metrics_port + 1 if metrics_port else 0,
        state_folder=folder,
        activity=_activity_place(folder, activity_port) if activity and folder is not None else None,
        extproc_flags=(f"--server={extproc_server}",),
    )
    raise typer.Exit(asyncio.run(run_up(directory, settings, metrics_port, _say_while_read, client_keys)))


def _state_folder() -> Path | None:
    try:
        return prepared_state(os.environ, Path.home())
    except (OSError, RuntimeError) as error:
        _say_while_read(
            "limpet up keeps no ledger and no activity, so 'limpet report' and 'limpet activity' will not know of "
            f"this run: {error}"
        )
        return None


def _activity_place(folder: Path, port: int | None) -> ActivityPlace:
    try:
        return ActivityPlace(folder, page_port(port))
    except CannotStart as error:
        _say_while_read(f"limpet up: {error}")
        raise typer.Exit(1) from error


def _checked(read: Callable[[str], T], text: str, flag: str) -> T:
    try:
        return read(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=flag) from error


def validate(
    directory: Dir,
    strict: Annotated[
        bool, typer.Option("--strict", help="Status 1 also where something has no effect or is stale (note).")
    ] = False,
) -> None:
    """Check the objects in a directory: a line each, what is wrong, where, and what to do. Status 1 if any is wrong.

    A file by its own name may also be one of clients' keys, as for 'limpet up --client-keys'.
    """
    try:
        scanned = files.scan(directory)
        if directory.is_file():
            scanned = as_keys(scanned)
        lines = validated(scanned, os.environ, Parser.load(), datetime.now(UTC))
    except FileNotFoundError as error:
        _say(f"limpet validate: {error}")
        raise typer.Exit(1) from error
    for line in lines:
        _say(render_line(line))
    if not lines:
        _say(f"{directory} has no YAML or JSON files with objects in them; name a directory or file that has")
    raise typer.Exit(exit_status(lines, strict))


def _say(line: str) -> None:
    print(line, flush=True)


def _say_while_read(line: str) -> None:
    """For a command that serves: once the other end of the pipe is closed, say nothing more and go on."""
    try:
        _say(line)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Commands(TyperGroup):
    """Commands with the whole first sentence of their help, on several lines where it is long."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """See click, which cuts the sentence at the end of the line; typer hides its types."""
        rows = [(name, self.commands[name].get_short_help_str(_SENTENCE)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


_SENTENCE: Final = 1000
"""Characters; longer than any."""


def _version(wanted: bool) -> None:
    if wanted:
        _say(f"limpet {version('limpet')}")
        raise typer.Exit


def _whole(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Sticky routing for LLM traffic: conversations stay on the provider whose prompt cache is warm for them."""


def application(arguments: Sequence[str], entries: Iterable[EntryPoint] | None = None) -> typer.Typer:
    """The command with the subcommand that the arguments name, or else with every one that is installed.

    `entries` are subcommands of other packages, by default of all that are installed. One that lacks a package is
    listed with what to install; SystemExit with the same if it is the one that was called.
    """
    app = typer.Typer(
        cls=_Commands,
        context_settings={"help_option_names": ["-h", "--help"]},
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(_whole)
    for command in (up, validate, render):
        app.command()(command)
    app.add_typer(prices, name="prices")
    app.add_typer(client_key_commands, name="client-key")
    app.add_typer(mesh, name="mesh")
    entries = list(entry_points(group="limpet.commands") if entries is None else entries)
    # Loading one costs up to a second of imports; all are needed only to list them.
    called = [entry for entry in entries if entry.name in arguments[:1]]
    own = {up.__name__, validate.__name__, render.__name__, "prices", "client-key", "mesh"}
    for entry in called or (() if own & set(arguments[:1]) else entries):
        try:
            added = entry.load()
        except ModuleNotFoundError as error:
            how = f"'make tools' in the checkout, or pip install 'limpet[{_EXTRA.get(entry.name, 'lab')}]'"
            if called:
                message = f"limpet {entry.name}: the Python package {error.name} is not installed here"
                raise SystemExit(f"{message}; {how} brings it") from error
            app.command(entry.name, help=f"Needs packages that are not installed here: {how}.")(_absent)
            continue
        if isinstance(added, typer.Typer):
            app.add_typer(added, name=entry.name)
        else:
            app.command(entry.name)(added)
    return app


_EXTRA: Final = {"bench": "bench"}
"""What a subcommand's packages are called in the metadata of this one."""


_OF_CLUSTERS: Final = ("aiohttp", "kubernetes")
"""Packages with which a command asks a cluster; on a laptop they may be missing."""


_OF_A_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Why a file, whose name is not known then, takes no more."""


def _absent() -> None:
    """What is listed and never runs: a subcommand that is called is loaded first."""


def main() -> None:
    """Run the command that this process was called with."""
    try:
        _run(sys.argv[1:])
    except ModuleNotFoundError as error:
        if error.name not in _OF_CLUSTERS:
            raise
        message = f"limpet: asking a cluster needs the Python package {error.name}, which is not installed here"
        how = "'make tools' in the checkout, or pip install 'limpet[operator]', brings it"
        raise SystemExit(f"{message}; {how}") from error
    except OSError as error:
        if error.errno not in _OF_A_DISK or error.filename is not None or _takes_more():
            raise
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try again at its end.
        raise SystemExit(f"limpet: what it prints cannot be written: {error.strerror}") from error


def _takes_more() -> bool:
    """Whether it is not standard output that is full, but a file that a command keeps.

    A line's end is written to it: of what did not fit, Python may have kept nothing that could be written again.
    """
    try:
        sys.stdout.flush()
        os.write(sys.stdout.fileno(), b"\n")
    except OSError:
        return False
    return True


def _run(arguments: Sequence[str]) -> None:
    """Until all that it prints is written. Raises OSError where that is not possible, or SystemExit."""
    try:
        application(arguments)()
    except SystemExit:
        with suppress(BrokenPipeError):
            sys.stdout.flush()
        raise


if __name__ == "__main__":
    main()
