"""`limpet render`: what Envoy is told, as YAML in its own words."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, Literal

import typer
import yaml

from limpet_extproc.contract.host_port import HostPort
from limpet_operator.laptop.machine import system_ca_file
from limpet_operator.mesh.hosts import is_loopback
from limpet_operator.planning.plan import plan
from limpet_operator.publish.bootstrap import outside_bootstrap
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.publish.publication import rendered
from limpet_operator.resources.objects import Parser
from limpet_operator.resources.proxy import proxy_settings
from limpet_operator.sources import files
from limpet_operator.sources.file_store import FileStore


def render(
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="Directory of YAML files with the objects, or one file.", show_default=False
        ),
    ] = None,
    scripts: Annotated[
        bool, typer.Option("--scripts", help="Print the Lua as well, and whatever else is long.")
    ] = False,
    target: Annotated[
        Literal["envoy"] | None,
        typer.Option(
            "--for", help="Instead, without DIR: the bootstrap of an Envoy of yours, which a running operator serves."
        ),
    ] = None,
    operator: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT", help="With --for envoy: the operator; without TLS where it is on this machine."
        ),
    ] = "limpet-operator.limpet.svc:18000",
    operator_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --for envoy: the DNS name in the operator's certificate.  [default: its host]",
            show_default=False,
        ),
    ] = None,
    tls_dir: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="With --for envoy: where that Envoy finds tls.crt, tls.key and ca.crt.  [default: /etc/limpet/tls, "
            "none for an operator on this machine]",
            show_default=False,
        ),
    ] = None,
    node: Annotated[
        str, typer.Option(help="With --for envoy: its name, another one for each; --node of the workers beside it.")
    ] = os.uname().nodename,
) -> None:
    """Print the Envoy resources that a directory means, as YAML in Envoy's own words, for people to read."""
    if (target is None) == (directory is None):
        raise typer.BadParameter("give either a directory with objects or --for envoy", param_hint="DIR")
    if directory is None:
        address = HostPort.parse(operator)
        if address is None or not address.port or "/" in address.host:
            message = f"{operator} is not HOST:PORT; write one such as limpet-operator.limpet.svc:18000"
            raise typer.BadParameter(message, param_hint="--operator")
        place = tls_dir or (None if is_loopback(address.host) else "/etc/limpet/tls")
        config = outside_bootstrap(node, address, place, operator_name or address.host)
        _print_yaml([config], _Whole)
        return
    store = FileStore(Parser.load())
    try:
        store.replace(files.scan(directory).documents)
    except FileNotFoundError as error:
        print(f"limpet render: {error}", flush=True)
        raise typer.Exit(1) from error
    gateway = EnvoySettings(
        "127.0.0.1",
        10000,
        ("/run/limpet/extproc.sock",),
        proxies=proxy_settings(os.environ)[0],
        system_ca_file=system_ca_file(),
    )
    resources = [{"@type": kind, **body} for kind, body in rendered(plan(store.objects, os.environ), gateway)]
    _print_yaml(resources, _Whole if scripts else _Readable)


def _print_yaml(documents: Iterable[object], dumper: "type[_Whole]") -> None:
    yaml.dump_all(documents, sys.stdout, Dumper=dumper, sort_keys=False, allow_unicode=True, width=140)


class _Whole(yaml.SafeDumper):
    """Scripts as blocks, and no references to what stands twice."""

    def ignore_aliases(self, data: object) -> bool:
        """No references: each resource can be read alone."""
        return True


class _Readable(_Whole):
    """Of long scripts their length."""


_LONG: Final = 40
"""Lines of a text beyond which it hides what stands around it."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


def _short_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    lines = text.count("\n") + 1
    return _text(dumper, text if lines <= _LONG else f"({lines:,} lines, see --scripts)")


_Whole.add_representer(str, _text)
_Readable.add_representer(str, _short_text)
