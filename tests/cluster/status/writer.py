"""A replica that writes all the time: `python -m tests.cluster.status.writer KUBECONFIG NAMESPACE IDENTITY [trusting]`.

Lease, writer and client are the operator's own; only the findings are made up every few milliseconds and name the
writer. `trusting` is what the fence protects against: it never checks the lease again once it has had it.
"""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from limpet_extproc.contract.health_stream import Probed
from limpet_operator.fleet.view import GatewayState, Traffic
from limpet_operator.planning.finding import ObjectFindings, not_accepted, unresolved
from limpet_operator.planning.plan import Plan
from limpet_operator.probe.view import ProbeResult
from limpet_operator.resources.objects import Objects
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.sources.cluster_store import StoredObject
from limpet_operator.sources.kube_reader import Access
from limpet_operator.status.kube_writer import KubeWriter
from limpet_operator.status.lease import Lease, LeaseDurations
from limpet_operator.status.metrics import build_writer_metrics
from limpet_operator.status.writer import StatusWriter, WriteIntervals

TERMS = LeaseDurations(duration_s=2.0, renew_s=0.4, valid_s=1.4, request_s=0.4)
LEASE = "limpet-operator"


class Nobody:
    """A fleet without gateways, and nothing is probed."""

    def gateways(self) -> Sequence[GatewayState]:
        return ()

    def traffic(self) -> Mapping[str, Traffic]:
        return {}

    def results(self) -> Mapping[ObjectKey, Sequence[ProbeResult]]:
        return {}

    def probed(self) -> Mapping[str, Sequence[Probed]]:
        return {}


class Trusting(Lease):
    """Stops asking once it has held the Lease."""

    def valid(self) -> bool:
        """True from the first time on."""
        return self._had or super().valid()

    def remaining_s(self) -> float:
        """Always enough."""
        if super().remaining_s() > 0:
            self._had = True
        return 60.0 if self._had else 0.0

    _had = False


async def write(kubeconfig: Path, namespace: str, identity: str, kind: type[Lease]) -> None:
    """For ever."""
    api = KubeWriter(await Access(kubeconfig).configuration())
    lease = kind(api, namespace, LEASE, identity, TERMS)
    stored: dict[ObjectKey, StoredObject] = {}
    writer = StatusWriter(
        api,
        lease,
        Nobody(),
        Nobody(),
        stored=stored.get,
        published=lambda _: None,
        record=lambda *_, **__: None,
        metrics=build_writer_metrics(CollectorRegistry()),
        intervals=WriteIntervals(settle_s=0.02, per_object_s=0.02, first_retry_s=0.05, last_retry_s=0.2, request_s=1.0),
    )
    path = f"/apis/limpet.dev/v1alpha1/namespaces/{namespace}/stickypolicies"

    async def look_and_talk() -> None:
        for number in count():
            for item in (await api.call("GET", path))["items"]:
                stored[_key(item)] = _stored(item)
            message = f"{identity} {number}"
            findings = ObjectFindings(not_accepted("Invalid", message), unresolved("Invalid", message))
            writer.plan_changed(Plan(findings=dict.fromkeys(stored, findings)), Objects())
            await asyncio.sleep(0.05)

    await asyncio.gather(lease.run(), writer.run(), look_and_talk())


def _key(item: Mapping[str, Any]) -> ObjectKey:
    return ObjectKey("StickyPolicy", item["metadata"]["namespace"], item["metadata"]["name"])


def _stored(item: Mapping[str, Any]) -> StoredObject:
    metadata = item["metadata"]
    version = int(metadata["resourceVersion"])
    return StoredObject(metadata["uid"], version, metadata["generation"], {}, item.get("status", {}))


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Trusting if "trusting" in sys.argv else Lease))
