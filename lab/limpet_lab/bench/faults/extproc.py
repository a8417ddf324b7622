"""`python -m limpet_lab.bench.faults.extproc`: ext_proc on a machine whose clock can be set.

Its flags are those of `limpet_extproc`. The file that the variable `LIMPET_LAB_CLOCK` names has the seconds by which
the machine's clock is wrong.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from limpet_extproc.process import parent, worker
from limpet_extproc.process.flags import parse
from limpet_extproc.process.settings import SupervisorSettings
from limpet_extproc.process.steady_clock import clock_zero_s, steady_clock
from limpet_extproc.telemetry.logs import log_to_stderr

CLOCK_VARIABLE: Final = "LIMPET_LAB_CLOCK"
PROGRAM: Final = "limpet_lab.bench.faults.extproc"


def wrong_clock(file: Path) -> Callable[[], float]:
    """The machine's clock, as wrong as the file says at the moment."""
    return lambda: time.time() + float(file.read_text())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parent of several workers, or one of them, until a signal ends it."""
    settings = parse(argv)
    log_to_stderr(settings.log_level, settings.log_format)
    if isinstance(settings, SupervisorSettings):
        return parent.run(settings, PROGRAM)
    zero_s = settings.clock_zero_s
    if zero_s is None:
        zero_s = clock_zero_s(wrong_clock(Path(os.environ[CLOCK_VARIABLE])))
    worker.run(settings, clock=steady_clock(zero_s))
    return 0


if __name__ == "__main__":
    sys.exit(main())
