"""One replica of the operator in a cluster: from the API server's objects to every Envoy and ext_proc that asks.

The counterpart of `local.py`. Every replica watches and serves; what the others know of their Envoys is joined with
what is known here, and the holder of the Lease alone writes to Kubernetes.
"""

import asyncio
import gc
import logging
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from random import Random
from typing import Any, Final

from prometheus_client import CollectorRegistry

from limpet_operator.cluster_source import ClusterSource, Where
from limpet_operator.controlplane import CatalogServer
from limpet_operator.debounce import Debounce
from limpet_operator.delta import CLUSTER
from limpet_operator.metrics import build_metrics
from limpet_operator.plan import Plan, Verdict, plan
from limpet_operator.probes_http import serve_probes
from limpet_operator.publish.publication import Publisher
from limpet_operator.resources.objects import Parser
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.resources.schema import load_crds
from limpet_operator.rollout import Patience, Rollout
from limpet_operator.settings import Settings
from limpet_operator.sources.kube_api import Access, KubernetesApi
from limpet_operator.tls import require_tls, server_credentials
from limpet_operator.xds import XdsServer, serve

_log = logging.getLogger(__name__)

CLOSE_S: Final = 2.0
"""How long streams may take to end."""


class Replica:
    """Joins the parts. `async with await Replica.connect(settings) as replica: await replica.run()`."""

    def __init__(self, settings: Settings, api: KubernetesApi, access: Access) -> None:
        self.settings = settings
        self.registry = CollectorRegistry()
        self._metrics = build_metrics(self.registry, version("limpet"))
        self._api = api
        self._xds = XdsServer(self._metrics, lambda _: None, self._acks_changed)
        self._catalogs = CatalogServer(self._acked_clusters, self._metrics)
        self._rollout = Rollout(self._xds, self._catalogs, Patience(drain_s=settings.drain_s))
        self._publisher = Publisher(settings.gateway)
        self._debounce = Debounce(self._reconcile)
        self.source = ClusterSource(
            Where(access, settings.namespaces),
            api,
            Parser.load(),
            load_crds(),
            self._debounce.poke,
            Random(),  # noqa: S311 (it spreads load)
        )
        self._plan: Plan | None = None
        self._verdicts: Mapping[ObjectKey, Verdict] = {}
        self._ending = False

    @property
    def plan(self) -> Plan | None:
        """What is served; None: nothing is published yet."""
        return self._plan

    def not_ready(self) -> str | None:
        """Why this replica should not be asked."""
        if self._ending:
            return "this replica is ending"
        if self._plan is None:
            return self.source.not_synced or self.source.trouble or "the first plan is being made"
        return None

    def unhealthy(self) -> str | None:
        """Why this process should be started anew."""
        return self.source.stuck(asyncio.get_running_loop().time())

    async def run(self, stopped: asyncio.Event) -> None:
        """Serve until told to stop. Raises OSError for an address in use, and whatever breaks off the source."""
        settings = self.settings
        require_tls(settings.listen, settings.tls_dir)
        credentials = server_credentials(settings.tls_dir) if settings.tls_dir else None
        async with serve_probes(settings.http, self.unhealthy, self.not_ready, self.registry):
            server = await serve(
                settings.listen, self._xds.handler(), self._catalogs.handler(), credentials=credentials
            )
            _log.info("serving Envoy and ext_proc", extra={"listen": settings.listen, "tls": credentials is not None})
            following = asyncio.create_task(self.source.run(), name="follow the cluster")
            ending = asyncio.create_task(stopped.wait(), name="wait for the end")
            try:
                await asyncio.wait({following, ending}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                self._ending = True
                ended = following.done()
                for task in (following, ending):
                    task.cancel()
                await asyncio.gather(following, ending, return_exceptions=True)
                self._debounce.close()
                await self._rollout.close()
                self._xds.close()
                self._catalogs.close()
                await server.stop(CLOSE_S)
            if ended:
                following.result()

    def _reconcile(self) -> None:
        objects = self.source.objects()
        if objects is None:
            return
        first = self._plan is None
        # No environment variables: they are this process's own, and any namespace's Provider could ask for them.
        self._plan = plan(objects, {}, self._plan)
        self._rollout.apply(self._publisher.publication(self._plan))
        self._count(self._plan)
        if first:
            _log.info("ready", extra={"providers": len(self._plan.providers), "objects": len(self._plan.verdicts)})
            # What is here now mostly stays: looking through it for garbage again and again would hold up changes.
            gc.collect()
            gc.freeze()
        self._say(self._plan)

    def _say(self, now: Plan) -> None:
        """Each object that is not used as it is written, once for every reason."""
        for key, verdict in now.verdicts.items():
            before = self._verdicts.get(key)
            if verdict is before or verdict == before:
                continue
            for condition in (verdict.accepted, verdict.resolved_refs):
                if not condition.ok:
                    _log.warning("%s: %s", key, condition.message, extra=_about(key, condition.reason))
                    break
            else:
                if before is not None and not before.ok:
                    _log.info("%s is in order now", key, extra=_about(key, "Accepted"))
        self._verdicts = now.verdicts

    def _count(self, now: Plan) -> None:
        counts = Counter(
            (key.kind, "true" if verdict.accepted.ok else "false") for key, verdict in now.verdicts.items()
        )
        for kind in ("Provider", "Pricing", "HealthProbe", "StickyPolicy"):
            for accepted in ("true", "false"):
                self._metrics.objects.labels(kind, accepted).set(counts[kind, accepted])

    def _acked_clusters(self, node: str) -> frozenset[str] | None:
        known = self._xds.acknowledged(node)
        return None if known is None or CLUSTER not in known else frozenset(known[CLUSTER])

    def _acks_changed(self, node: str) -> None:
        self._catalogs.acks_changed(node)


def _about(key: ObjectKey, reason: str) -> dict[str, Any]:
    return {"kind": key.kind, "namespace": key.namespace, "object": key.name, "reason": reason}
