"""`python -m limpet_lab.bench.latency_profile_worker FILE …`: ext_proc with these flags, and where its CPU time went.

From the signal SIGUSR1 on, its timer of CPU time interrupts it every few milliseconds, and the stage of what it was
doing is counted (`latency_profile_stages`). Unlike a profiler that is called for every function this costs what is
measured nothing. At the worker's end the counts go to FILE, as JSON by stage.
"""

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

from limpet_extproc.__main__ import main as extproc
from limpet_lab.bench.latency_profile_stages import Running, Stage, stage_of

_EVERY_S: Final = 0.001
"""Of CPU time; the kernel makes it its own tick where that is longer."""


class Sampler:
    """Counts the stages that this process is in."""

    def __init__(self) -> None:
        self.counts: Counter[Stage] = Counter()

    def begin(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Count from now on; also what a signal calls."""
        signal.signal(signal.SIGPROF, self._count)
        signal.setitimer(signal.ITIMER_PROF, _EVERY_S, _EVERY_S)

    def end(self) -> None:
        """Count no more."""
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _count(self, _number: int, frame: FrameType | None) -> None:
        stack: list[Running] = []
        while frame is not None:
            stack.append(Running(frame.f_globals.get("__name__", ""), frame.f_code.co_name))
            frame = frame.f_back
        self.counts[stage_of(stack)] += 1


def main() -> int:
    """Run the worker; its exit status."""
    sampler = Sampler()
    signal.signal(signal.SIGUSR1, sampler.begin)
    try:
        return extproc(sys.argv[2:])
    finally:
        sampler.end()
        Path(sys.argv[1]).write_text(json.dumps(sampler.counts))


if __name__ == "__main__":
    sys.exit(main())
