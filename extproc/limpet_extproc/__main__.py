"""`python -m limpet_extproc`: Limpet's data plane beside one Envoy, as one worker or as a parent that keeps several."""

import logging
import sys
from collections.abc import Sequence

from limpet_extproc.process.flags import BadStart, flags_parser, memory_key, read_flags
from limpet_extproc.telemetry.logs import log_to_stderr

log = logging.getLogger("limpet.extproc")


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop; the exit status."""
    flags = read_flags(flags_parser(), argv)
    log_to_stderr(flags.log_level, flags.log_format, **({} if flags.worker is None else {"worker": str(flags.worker)}))
    try:
        # Imported here since a parent has no use for gRPC, which is most of a worker's memory and start.
        if flags.socket_dir:
            from limpet_extproc.process import workers

            if flags.memory_key_file:
                memory_key(flags.memory_key_file)
            return workers.run(flags)

        from limpet_extproc.process import worker

        worker.run(flags)
    except BadStart as error:
        print(f"limpet-extproc: {error}", file=sys.stderr)
        return 2
    except Exception:
        log.exception("ended by an error of its own; please report this")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
