"""Which objects are ours, who owns them, and whether one is as it should be. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.mesh.istio_object import GATEWAY_LABEL, MANAGED_BY, OURS, PROVIDERS_ANNOTATION, IstioObject

FIELD_MANAGER: Final = "limpet-mesh"


def is_ours(raw: Mapping[str, Any], gateway: MeshGateway) -> bool:
    """Whether it was written for this gateway: in the gateway's namespace, or as an EnvoyFilter for applications."""
    metadata = raw["metadata"]
    labels = metadata.get("labels") or {}
    return (
        (raw.get("kind") == "EnvoyFilter" or metadata.get("namespace") == gateway.namespace)
        and labels.get(MANAGED_BY) == OURS
        and labels.get(GATEWAY_LABEL) == gateway.label
    )


def is_kept(raw: Mapping[str, Any]) -> bool:
    """Whether an operator has written it, so that it was not only applied by hand."""
    return any(each.get("manager") == FIELD_MANAGER for each in raw["metadata"].get("managedFields") or ())


def owner_reference(raw: Mapping[str, Any]) -> dict[str, Any]:
    """An object as an owner: Kubernetes removes what it owns when it is gone."""
    metadata = raw["metadata"]
    return {
        "apiVersion": raw["apiVersion"],
        "kind": raw["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }


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
