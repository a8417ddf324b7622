"""`python -m limpet_lab.bench.faults.operator ORDER`: a replica of the operator that follows a directory of YAML.

It serves and links to its peers as a replica in a cluster does. In place of the API server it has the directory, and in
place of objects' statuses a file with their conditions.
"""

import asyncio
import signal
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import grpc.aio
import msgspec

from limpet_extproc.contract.client_options import CLIENT_OPTIONS
from limpet_extproc.contract.host_port import HostPort
from limpet_extproc.contract.registry import Registry
from limpet_lab.bench.faults.places import OperatorOrder
from limpet_operator.fleet.fleet import Fleet
from limpet_operator.fleet.health_links import HealthLinks
from limpet_operator.fleet.links import PeerLinks
from limpet_operator.fleet.peers import Peers
from limpet_operator.laptop.up import Directory
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.serve.control_plane import ControlPlane
from limpet_operator.serve.metrics import build_metrics
from limpet_operator.serve.rollout import RemovalTimeouts
from limpet_operator.serve.tasks import first_of
from limpet_operator.status.findings import programmed
from limpet_operator.status.health import provider_health

_CLOSE_S = 1.0
_SETTLE_S = 0.1
_DRAIN_S = 0.5


class Condition(msgspec.Struct, frozen=True):
    """A condition of a Provider, as its status would show it."""

    status: str
    reason: str
    message: str


Conditions = dict[str, dict[str, Condition]]
"""By the Provider's name and the condition's type."""


class FollowingOperator:
    """The parts of a replica, wired together."""

    def __init__(self, order: OperatorOrder) -> None:
        self._order = order
        self._changed = asyncio.Event()
        metrics, links, place = build_metrics(Registry(), "lab"), PeerLinks(), order.place
        envoy = EnvoySettings(
            listen_host="127.0.0.1",
            listen_port=place.port,
            extproc_sockets=place.workers,
            shares_port=False,
            dns_servers=(HostPort("127.0.0.1", order.name_server_port),),
            dns_lookup_family="V4_PREFERRED",
            # Providers bring their own authority here; one that does not is refused by Envoy.
            system_ca_file=str(Path(place.folder, "no-authorities.pem")),
        )
        health = HealthLinks(links, metrics)
        self._control_plane = ControlPlane(
            envoy, metrics, RemovalTimeouts(drain_s=_DRAIN_S), peers=links, health_peers=health
        )
        self._fleet = Fleet(self._control_plane, links, health, metrics, self._changed.set)
        self._peers = Peers(self._fleet, place.name)
        self._directory = Directory(Path(order.objects), lambda line: print(line, flush=True))

    async def run(self, stopped: asyncio.Event) -> None:
        """Serve until `stopped`."""
        await self._control_plane.start(self._order.place.operator, self._peers.handler())
        self._control_plane.apply(self._directory.plan)
        try:
            await first_of(
                stopped.wait(),
                self._fleet.run(),
                self._directory.follow(self._control_plane.apply),
                self._peers.run(self._all_replicas, _dial),
                self._write_status(),
            )
        finally:
            self._peers.close()
            await self._control_plane.stop(_CLOSE_S)

    async def _all_replicas(self) -> Collection[str]:
        return self._order.peers

    async def _write_status(self) -> None:
        while True:
            self._changed.clear()
            written = self._order.place.status.with_suffix(".new")
            written.write_bytes(msgspec.json.encode(self._conditions()))
            written.rename(self._order.place.status)
            await self._changed.wait()
            await asyncio.sleep(_SETTLE_S)

    def _conditions(self) -> Conditions:
        plan, traffic = self._directory.plan, self._fleet.traffic()
        conditions: Conditions = {}
        for key, planned in plan.findings.items():
            if key.kind == "Provider":
                name = key.display_name
                version = self._control_plane.version(name)
                found = (
                    programmed(name, planned, version, self._fleet.gateways()),
                    provider_health(planned, traffic.get(name)).finding,
                )
                conditions[name] = {each.type: Condition(each.status, each.reason, each.message) for each in found}
        return conditions


def _dial(address: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address, options=CLIENT_OPTIONS)


async def _main(order: OperatorOrder) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await FollowingOperator(order).run(stopped)


def main(arguments: list[str]) -> int:
    """Run until a signal ends it."""
    order: Any = msgspec.json.decode(arguments[0], type=OperatorOrder)
    asyncio.run(_main(order))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
