"""The folder of a local gateway's sockets and logs, and an end to those of gateways that were killed."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

_PREFIX: Final = "limpet-"
_LOCK: Final = "limpet.lock"
"""What tells our folders from those of other programs, which may begin with the same word."""


class RunDir:
    """A new folder for this user alone, until `cleanup`. While its process lives it holds a lock in it."""

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        _sweep(parent)
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            self._lock = (self.path / _LOCK).open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            # One that starts at the same time may have taken it for a folder left behind, before the lock was ours.
            if (self.path / _LOCK).exists():
                break
            self._lock.close()

    def cleanup(self) -> None:
        """Remove it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _sweep(parent: Path) -> None:
    """Remove the folders of ours whose process has ended: the kernel has let go of their locks."""
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            # Not through a link of somebody else's making: everybody may write where temporary folders are.
            if folder.lstat().st_uid != os.geteuid() or folder.is_symlink():
                continue
            with (folder / _LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
        except OSError:
            continue  # In use, just being made, or gone meanwhile.
