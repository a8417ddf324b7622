"""Stands for the program `helm` where commands of the documentation are run as written: its own SDK, and those flags.

Needs KUBECONFIG. Flags that the documentation does not use are refused, so that none is taken and forgotten.
"""

import argparse
import sys
from collections.abc import Sequence

import helm_python

_TIMEOUT_S = 300


def parser() -> argparse.ArgumentParser:
    """As helm's own, as far as it goes."""
    root = argparse.ArgumentParser("helm", allow_abbrev=False)
    commands = root.add_subparsers(dest="command", required=True)
    install = commands.add_parser("install", allow_abbrev=False)
    install.add_argument("name")
    install.add_argument("chart")
    install.add_argument("--namespace", "-n", default="default")
    install.add_argument("--create-namespace", action="store_true")
    install.add_argument("--set", action="append", default=[])
    install.add_argument("--wait", action="store_true")
    return root


def main(arguments: Sequence[str]) -> int:
    """Do it; returns the exit status."""
    asked = parser().parse_args(arguments)
    with helm_python.Config(namespace=asked.namespace) as config:
        try:
            config.install(
                asked.chart,
                asked.name,
                helm_python.parse_set_string(",".join(asked.set)),
                namespace=asked.namespace,
                create_namespace=asked.create_namespace,
                wait="watcher" if asked.wait else None,
                timeout=_TIMEOUT_S,
            )
        except helm_python.HelmError as error:
            print(f"Error: {error}", file=sys.stderr)
            return 1
    print(f"NAME: {asked.name}\nNAMESPACE: {asked.namespace}\nSTATUS: deployed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
