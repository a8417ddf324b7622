"""The control plane's metrics: one value whose registry is the caller's."""

import time
from collections import Counter as Tally
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Info

from limpet_operator.planning.plan import Plan
from limpet_operator.resources.problem import PLURALS


def short_type(type_url: str) -> str:
    """The last word of a protobuf type URL: `Cluster`, `Listener`, `RouteConfiguration`, `Secret`."""
    return type_url.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class ControlPlaneMetrics:
    """The operator's metrics; `type` is the short name of an Envoy resource type, `kind` one of the four kinds."""

    xds_acks: Counter
    xds_nacks: Counter
    xds_pushed: Counter
    xds_removed: Counter
    xds_resources: Gauge
    xds_streams: Gauge
    catalog_revision: Info
    catalog_streams: Gauge
    contract_mismatches: Counter
    health_streams: Gauge
    relayed_reports: Counter
    dropped_reports: Counter
    probe_requests: Counter
    gateways: Gauge
    peers: Gauge
    objects: Gauge
    stale_prices: Gauge
    unreadable: Gauge


def build_metrics(registry: CollectorRegistry, version: str) -> ControlPlaneMetrics:
    """Register the operator's metrics; `version` is that of this distribution. A registry can hold them once."""
    Info("limpet_build", "The running version of Limpet", registry=registry).info({"version": version})
    return ControlPlaneMetrics(
        xds_acks=Counter("limpet_xds_acks", "Responses that an Envoy accepted whole", ["type"], registry=registry),
        xds_nacks=Counter("limpet_xds_nacks", "Responses that an Envoy rejected in part", ["type"], registry=registry),
        xds_pushed=Counter(
            "limpet_xds_pushed", "Resources sent to Envoys, once for each Envoy", ["type"], registry=registry
        ),
        xds_removed=Counter(
            "limpet_xds_removed", "Removals sent to Envoys, once for each Envoy", ["type"], registry=registry
        ),
        xds_resources=Gauge("limpet_xds_resources", "Resources published to Envoy", ["type"], registry=registry),
        xds_streams=Gauge("limpet_xds_streams", "Envoys connected to this operator", registry=registry),
        catalog_revision=Info(
            "limpet_catalog_revision",
            "The catalog of the whole plan, before what an Envoy lacks is withheld",
            registry=registry,
        ),
        catalog_streams=Gauge(
            "limpet_catalog_streams", "Data plane workers connected to this operator", registry=registry
        ),
        contract_mismatches=Counter(
            "limpet_contract_mismatches",
            "Data planes refused because they speak another contract version",
            registry=registry,
        ),
        health_streams=Gauge(
            "limpet_health_streams", "Data plane workers with a health stream to this operator", registry=registry
        ),
        relayed_reports=Counter(
            "limpet_relayed_reports",
            "Reports on providers passed on to workers of other gateways, once for each worker",
            registry=registry,
        ),
        dropped_reports=Counter(
            "limpet_dropped_reports",
            "Reports on providers that a worker did not get because it reads too slowly",
            registry=registry,
        ),
        probe_requests=Counter(
            "limpet_probe_requests",
            "Probes given to workers, by whether the worker answered",
            ["outcome"],
            registry=registry,
        ),
        gateways=Gauge(
            "limpet_gateways", "Envoys connected to this operator or to one of its other replicas", registry=registry
        ),
        peers=Gauge(
            "limpet_peers", "Other replicas of the operator that this one is connected with", registry=registry
        ),
        objects=Gauge(
            "limpet_objects",
            "Objects read, by kind and whether they take effect",
            ["kind", "accepted"],
            registry=registry,
        ),
        stale_prices=Gauge(
            "limpet_prices_stale",
            "1 while the prices of this Pricing are older than its staleAfter, else 0",
            ["pricing"],
            registry=registry,
        ),
        unreadable=Gauge(
            "limpet_unreadable_namespaces",
            "Namespaces that were named and may not be read, so that nothing of them is served",
            registry=registry,
        ),
    )


def count_objects(metrics: ControlPlaneMetrics, plan: Plan) -> None:
    """Show how many objects of each of our kinds there are, and whether they take effect."""
    counts = Tally((key.kind, findings.accepted.ok) for key, findings in plan.findings.items())
    for kind in PLURALS:
        for accepted in (True, False):
            metrics.objects.labels(kind, str(accepted).lower()).set(counts[kind, accepted])


def show_stale_prices(metrics: ControlPlaneMetrics, plan: Plan, now: Callable[[], float] = time.time) -> None:
    """Show which prices are stale, at each look at the metrics anew; `now` gives Unix seconds."""
    metrics.stale_prices.clear()
    for key, stale_at in plan.stale_at.items():
        metrics.stale_prices.labels(key.display_name).set_function(partial(_is_past, stale_at.timestamp(), now))


def _is_past(at_s: float, now: Callable[[], float]) -> float:
    return float(now() >= at_s)
