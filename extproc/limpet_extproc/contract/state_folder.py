"""Where `limpet up` keeps what outlives it: a folder of the user, by the XDG base directory specification."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

LEDGER_FILE: Final = "ledger.sqlite3"
ACTIVITY_FILE: Final = "activity.sqlite3"
"""The records of requests."""
PAGE_TOKEN_FILE: Final = "page.token"  # noqa: S105 (its name)
"""What signs in to the page about them."""
KEY_FILE: Final = "memory.key"
"""The secret that names of conversations and tenants are made with, so that a tenant keeps its name."""


def state_folder(environment: Mapping[str, str], home: Path) -> Path:
    """`$XDG_STATE_HOME/limpet`, by default `~/.local/state/limpet`."""
    base = environment.get("XDG_STATE_HOME", "")
    return (Path(base) if base.startswith("/") else home / ".local" / "state") / "limpet"
