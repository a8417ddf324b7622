"""The folder of a local gateway's sockets and logs; those of gateways that were killed are removed."""

import fcntl
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from limpet_operator.laptop.listen import CannotStart

_PREFIX: Final = "limpet-"
_LOCK: Final = "limpet.lock"
"""Distinguishes our folders from those of other programs with the same prefix."""


_SOCKET_PATH_BYTES: Final = 107 if sys.platform == "linux" else 103
_LONGEST: Final = f"{_PREFIX}12345678/translate-0.sock"
"""A path in it as long as that of any socket."""


class RunDir:
    """A new folder for this user alone, until `cleanup`. While its process lives it holds a lock in it."""

    def __init__(self, parent: Path | None = None) -> None:
        """Raises CannotStart where paths of sockets would be longer than the system takes."""
        parent = parent or Path(tempfile.gettempdir())
        if len(os.fsencode(parent / _LONGEST)) > _SOCKET_PATH_BYTES:
            raise CannotStart(
                f"the temporary directory {parent} has too long a path for sockets in it; "
                "set TMPDIR to a shorter one, such as /tmp"
            )
        _sweep(parent)
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            self._lock = (self.path / _LOCK).open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            # Another process may have removed it as left behind before the lock was ours.
            if (self.path / _LOCK).exists():
                break
            self._lock.close()

    def cleanup(self) -> None:
        """Remove it with its contents."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _sweep(parent: Path) -> None:
    """Remove our folders whose process has ended: the kernel has released their locks."""
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            # Not through another user's link: everybody may write where temporary folders are.
            if folder.lstat().st_uid != os.geteuid() or folder.is_symlink():
                continue
            with (folder / _LOCK).open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
        except OSError:
            continue  # In use, just being made, or removed by now.
