"""`python -m limpet_operator`: one replica of the operator in a cluster. Flags, signals, exit status; no decisions."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence

import uvloop

from limpet_operator.pod.json_logs import log_as_json
from limpet_operator.pod.replica import Replica
from limpet_operator.pod.settings import ReplicaSettings, parse_settings
from limpet_operator.publish.address_family import lookup_family, reaches
from limpet_operator.serve.tls import TlsUnusableError
from limpet_operator.sources.kube_reader import Access, KubeReader, NoClusterError

_log = logging.getLogger("limpet_operator")


async def run(settings: ReplicaSettings) -> int:
    """The exit status: 0 after SIGTERM or SIGINT, 1 after an error, which has been logged."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    access = Access(settings.kubeconfig)
    try:
        async with await KubeReader.connect(access) as api:
            await Replica(settings, api, access).run(stopped)
    except (NoClusterError, TlsUnusableError, OSError) as error:
        _log.error("%s", error)
        return 1
    except Exception:
        _log.exception("this is a bug in Limpet; the process ends")
        return 1
    _log.info("ended")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal ends it."""
    family = lookup_family(reaches)  # Of this pod; those of the gateways are in the same cluster.
    settings = parse_settings(sys.argv[1:] if arguments is None else arguments, os.environ, family)
    log_as_json(settings.log_level, sys.stdout)
    # Faster, and it reserves a TLS connection's buffers without touching them: with asyncio's own loop, the watches of
    # a thousand Secrets take 250 MB.
    return uvloop.run(run(settings))


if __name__ == "__main__":
    sys.exit(main())
