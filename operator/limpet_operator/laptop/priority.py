"""How much of the processors a child gets while others want them, too."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

BACKGROUND_NICE: Final = 5
"""A third of what another process gets while both want the same processor; all of it while nothing else does. With a
tenth, a busy machine takes a minute to start the child."""


def run_in_background(pid: int) -> None:
    """Have other processes go first, if this child has just been started: its threads are made with what it has now.

    Does nothing where the system does not allow it.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, BACKGROUND_NICE)
    # Where Linux shares processors out between sessions first, and a child has its own, that counts only within it.
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(BACKGROUND_NICE))
