"""`python -m limpet_extproc`: Limpet's data plane beside one Envoy, as one worker or as the parent of several."""

import logging
import sys
from collections.abc import Sequence

from limpet_extproc.process.flags import parse
from limpet_extproc.process.memory_key import read_memory_key
from limpet_extproc.process.settings import SupervisorSettings
from limpet_extproc.process.start_error import StartError
from limpet_extproc.telemetry.logs import log_to_stderr

_log = logging.getLogger("limpet_extproc")


def main(argv: Sequence[str] | None = None) -> int:
    """Run until stopped by a signal; the exit status."""
    settings = parse(argv)
    number = None if isinstance(settings, SupervisorSettings) else settings.worker
    log_to_stderr(settings.log_level, settings.log_format, **({} if number is None else {"worker": str(number)}))
    try:
        # Imported here since a parent has no use for gRPC, which is most of a worker's memory and start.
        if isinstance(settings, SupervisorSettings):
            from limpet_extproc.process import parent

            if settings.memory_key_file:
                read_memory_key(settings.memory_key_file)
            return parent.run(settings)

        from limpet_extproc.process import worker

        worker.run(settings)
    except StartError as error:
        print(f"limpet-extproc: {error}", file=sys.stderr)
        return 2
    except Exception:
        _log.exception("ended by an error of its own; please report this")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
