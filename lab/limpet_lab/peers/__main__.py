"""`python -m limpet_lab.peers --rules openrouter …`: an ext_proc worker that decides by a peer's published rules.

It takes the flags of our own worker, so that the local gateway can start it in that one's place.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence

from limpet_extproc.process.flags import flags_parser, read_flags
from limpet_extproc.process.wiring import Rules, Surroundings
from limpet_extproc.process.worker import run
from limpet_extproc.telemetry.logs import log_to_stderr
from limpet_lab.peers.rules import RULE_SETS, Outages, Peer, RuleSetName


def peer_rules(name: RuleSetName) -> Callable[[Surroundings], Rules]:
    """What a worker needs to run that rule set."""

    def build(around: Surroundings) -> Rules:
        rule_set, new_memory = RULE_SETS[name]
        memory, outages = new_memory(), Outages()
        decides = Peer(rule_set, around.snapshot, memory, outages, around.secret, time.time, lambda: os.urandom(8))
        return Rules(decides, memory, outages)

    return build


def main(argv: Sequence[str] | None = None) -> int:
    """Run one worker until it is told to stop."""
    parser = flags_parser()
    parser.add_argument("--rules", required=True, choices=sorted(RULE_SETS), help="whose published rules decide")
    flags = read_flags(parser, argv)
    log_to_stderr(flags.log_level, flags.log_format)
    run(flags, peer_rules(flags.rules))
    return 0


if __name__ == "__main__":
    sys.exit(main())
