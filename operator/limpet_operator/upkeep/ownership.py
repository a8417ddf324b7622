"""Which objects are ours, and whether one is as it should be. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.mesh.istio_object import GATEWAY_LABEL, MANAGED_BY, OURS, PROVIDERS_ANNOTATION, IstioObject

_LEASE_VERSION: Final = "coordination.k8s.io/v1"


def is_ours(raw: Mapping[str, Any], gateway: MeshGateway) -> bool:
    """Whether it was written for this gateway, in the gateway's namespace."""
    metadata = raw["metadata"]
    labels = metadata.get("labels") or {}
    return (
        metadata.get("namespace") == gateway.namespace
        and labels.get(MANAGED_BY) == OURS
        and labels.get(GATEWAY_LABEL) == gateway.label
    )


def subjects_of(raw: Mapping[str, Any]) -> frozenset[str]:
    """What an object of ours is about: Providers and hosts, by name. Objects that share one depend on each other."""
    providers = (raw["metadata"].get("annotations") or {}).get(PROVIDERS_ANNOTATION, "")
    return frozenset(filter(None, (*providers.split(", "), *(raw["spec"].get("hosts") or ()))))


def owner_reference(lease_name: str, lease_uid: str) -> dict[str, Any]:
    """The Lease as owner: it goes with the release, and Kubernetes then removes what it owns."""
    return {"apiVersion": _LEASE_VERSION, "kind": "Lease", "name": lease_name, "uid": lease_uid}


def written_body(of: IstioObject, version: str | None, owner: Mapping[str, Any] | None) -> dict[str, Any]:
    """An object as it is applied."""
    body = of.body(version)
    if owner is not None:
        body["metadata"]["ownerReferences"] = [owner]
    return body


def is_as_wanted(raw: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
    """Whether applying `body` would change nothing of what we want."""
    there, wanted = raw["metadata"], body["metadata"]
    owners = {each.get("uid") for each in there.get("ownerReferences") or ()}
    return (
        raw.get("spec") == body["spec"]
        and (there.get("annotations") or {}).get(PROVIDERS_ANNOTATION)
        == (wanted.get("annotations") or {}).get(PROVIDERS_ANNOTATION)
        and (wanted.get("labels") or {}).items() <= (there.get("labels") or {}).items()
        and all(each["uid"] in owners for each in wanted.get("ownerReferences") or ())
    )
