"""The user's folder of what outlives `limpet up`: what requests were and cost, and the secrets that go with it."""

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from limpet_extproc.contract.state_folder import KEY_FILE, LEDGER_FILE, PAGE_TOKEN_FILE, state_folder

_KEY_BYTES: Final = 32


def prepared_state(environment: Mapping[str, str], home: Path) -> Path:
    """The folder, made for this user alone, with its secrets in it. Raises OSError."""
    folder = state_folder(environment, home)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & 0o077:
        # Others could read the ledger there, or put a token of theirs in the place of ours.
        folder.chmod(0o700)
    _keep(folder / KEY_FILE, secrets.token_bytes(_KEY_BYTES))
    _keep(folder / PAGE_TOKEN_FILE, secrets.token_urlsafe(_KEY_BYTES).encode())
    return folder


def _keep(file: Path, secret: bytes) -> None:
    """Make it with this secret, unless it is there."""
    if file.exists():
        return
    # Whole or not at all, also where two commands begin at once: the first one's stays.
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as part:
        part.write(secret)
    try:
        os.link(fresh, file)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def state_flags(folder: Path) -> tuple[str, ...]:
    """What ext_proc is told of it."""
    return f"--ledger-file={folder / LEDGER_FILE}", f"--memory-key-file={folder / KEY_FILE}"
