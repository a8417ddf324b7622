"""The user's folder of what outlives `limpet up`: the ledger, and the secret by which tenants keep their names."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from limpet_extproc.contract.state_folder import KEY_FILE, LEDGER_FILE, state_folder

_KEY_BYTES: Final = 32


def prepared_state(environment: Mapping[str, str], home: Path) -> Path:
    """The folder, made for this user alone if it is missing, with a secret in it. Raises OSError."""
    folder = state_folder(environment, home)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = folder / KEY_FILE
    if not key.exists():
        # Whole or not at all, also where two commands begin at once: the first one's stays.
        fresh = folder / f"{KEY_FILE}.{os.getpid()}"
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
        try:
            os.link(fresh, key)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return folder


def state_flags(folder: Path) -> tuple[str, ...]:
    """What ext_proc is told of it."""
    return f"--ledger-file={folder / LEDGER_FILE}", f"--memory-key-file={folder / KEY_FILE}"
