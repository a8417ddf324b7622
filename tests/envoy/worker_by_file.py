"""An ext_proc worker whose clock a story sets ahead: `python worker_by_file.py FILE`, then the flags of limpet_extproc.

The file has the seconds by which the worker's time is ahead, so that no story waits for a minute to pass.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from limpet_extproc.process import worker
from limpet_extproc.process.flags import parse
from limpet_extproc.process.settings import WorkerSettings
from limpet_extproc.telemetry.logs import log_to_stderr


def ahead(file: Path) -> Callable[[], float]:
    """Unix time, and the seconds that the file has at the moment."""
    return lambda: time.time() + float(file.read_text())


if __name__ == "__main__":
    settings = parse(sys.argv[2:])
    assert isinstance(settings, WorkerSettings)
    log_to_stderr(settings.log_level, settings.log_format)
    worker.run(settings, clock=ahead(Path(sys.argv[1])))
