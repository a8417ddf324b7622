"""A Go program that tests run: built once on this machine, before they go where there is no network."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from limpet_lab.kubernetes.assets import AssetsMissingError, Source


@dataclass(frozen=True, slots=True)
class GoProgram:
    """The only one of its source."""

    source: Source
    builder: str
    """The module that builds it when it is run."""

    def find(self, environment: Mapping[str, str]) -> Path:
        """The program, without building it. Raises AssetsMissingError if it is not there."""
        (name,) = self.source.programs
        program = self.source.home(environment) / name
        if not os.access(program, os.X_OK):
            raise AssetsMissingError(f"{program}: not built yet; run: python -m {self.builder}")
        return program

    def build(self) -> None:
        """Build it if necessary. SystemExit with what to do if that is not possible."""
        try:
            self.source.provide(dict(os.environ))
        except AssetsMissingError as none:
            sys.exit(str(none))
