"""What the Providers of a plan need in a mesh, beside what others have there. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from limpet_operator.mesh.conflicts import Settled, settled
from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.mesh.istio_egress import egress_objects
from limpet_operator.mesh.istio_sidecar import SidecarMesh, sidecar_objects
from limpet_operator.planning.plan import Plan
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.publish.publication import settings_for
from limpet_operator.resources.objects import Objects
from limpet_operator.resources.provider import Provider
from limpet_operator.upkeep.settings import UpkeepSettings


def wanted_objects(
    plan: Plan,
    objects: Objects,
    others: Iterable[Mapping[str, Any]],
    settings: UpkeepSettings,
    envoy: EnvoySettings,
    ca_pem: str,
) -> Settled:
    """`others` is what somebody else has written; `envoy` is the gateway, `ca_pem` the authority of its certificates.

    Every accepted Provider's host is brought to the gateway, while sidecars know clusters of those that are served.
    """
    accepted = sorted(
        (each for each in objects.of(Provider) if plan.findings[each.key].accepted.ok), key=lambda each: each.key
    )
    gateway, theirs = _gateway_now(settings.gateway, plan), list(others)
    egress = egress_objects(accepted, settings.hosts, gateway, envoy.proxies)
    found, notes = settled(egress.objects, theirs, gateway), egress.notes
    if settings.sidecars is not None:
        kept = settings.sidecars
        routed = {each.host for each in found.conflicts if each.kind == "VirtualService"}
        told = SidecarMesh(kept.namespaces, ca_pem, kept.workers_port, kept.credentials_port)
        written = sidecar_objects(
            plan.providers, settings.hosts, gateway, told, settings_for(plan, envoy), routed, accepted
        )
        found, notes = settled(written.objects, theirs, gateway), written.notes
    return Settled(found.objects, found.conflicts, (*notes, *found.notes))


def _gateway_now(gateway: MeshGateway, plan: Plan) -> MeshGateway:
    """It takes TLS only while it has a certificate, and only for hosts that this holds for."""
    if gateway.tls_port is None or plan.certificate is None:
        return replace(gateway, tls_port=None)
    return replace(gateway, tls_names=plan.certificate.names)
