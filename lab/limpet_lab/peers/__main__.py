"""`python -m limpet_lab.peers --rules openrouter …`: an ext_proc worker that decides by a peer's published rules.

Its other flags are those of our own worker, so that the local gateway can start it in that one's place.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial

from limpet_extproc.memory.in_process_heads import InProcessHeads
from limpet_extproc.memory.in_process_objects import InProcessObjects
from limpet_extproc.process.flags import parse
from limpet_extproc.process.settings import WorkerSettings
from limpet_extproc.process.wiring import RoutingParts, WorkerContext
from limpet_extproc.process.worker import run
from limpet_extproc.providers.limit_use import LimitUse
from limpet_extproc.request.pins import Pins
from limpet_extproc.telemetry.logs import log_to_stderr
from limpet_lab.peers.routing import Outages, PeerRouting
from limpet_lab.peers.rule_sets import RULE_SETS, RuleSetName


def peer_routing(name: RuleSetName) -> Callable[[WorkerContext], RoutingParts]:
    """What a worker needs to run that rule set."""

    def build(context: WorkerContext) -> RoutingParts:
        rule_set, new_memory = RULE_SETS[name]
        memory, outages = new_memory(), Outages(context.clock)
        random_seed = partial(os.urandom, 8)
        router = PeerRouting(
            rule_set, context.read, context.snapshot, memory, outages, context.secret, context.clock, random_seed
        )
        pins = Pins(InProcessObjects(), context.secret, context.clock)
        limit_use = LimitUse(context.settings.node, context.clock)
        return RoutingParts(router, memory, InProcessHeads(), pins, outages, limit_use)

    return build


def main(argv: Sequence[str] | None = None) -> int:
    """Run one worker until a signal ends it."""
    parser = argparse.ArgumentParser(prog="limpet_lab.peers", add_help=False, allow_abbrev=False)
    parser.add_argument("--rules", required=True, choices=sorted(RULE_SETS), help="whose published rules decide")
    peer, others = parser.parse_known_args(argv)
    settings = parse(others)
    if not isinstance(settings, WorkerSettings):
        parser.error("a peer runs as one worker: give it --socket")
    log_to_stderr(settings.log_level, settings.log_format)
    run(settings, peer_routing(peer.rules))
    return 0


if __name__ == "__main__":
    sys.exit(main())
