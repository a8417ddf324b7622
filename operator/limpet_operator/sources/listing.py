"""Which objects there are right now, by name and version only: what a watch is held against."""

from collections.abc import Sequence

import msgspec

from limpet_operator.resources.problem import API_VERSION, ObjectKey
from limpet_operator.sources.cluster_store import Listing
from limpet_operator.sources.kube_api import KubernetesApi

_NAMES_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class _Name(msgspec.Struct):
    name: str
    namespace: str
    resource_version: str = msgspec.field(name="resourceVersion")


class _Item(msgspec.Struct):
    metadata: _Name


class _Moment(msgspec.Struct):
    resource_version: str = msgspec.field(name="resourceVersion")


class _List(msgspec.Struct):
    metadata: _Moment
    items: list[_Item] | None = None


_LIST = msgspec.json.Decoder(_List)


async def list_names(api: KubernetesApi, kind: str, plural: str, namespaces: Sequence[str]) -> list[Listing]:
    """All objects of one of our kinds, a listing for each namespace; no namespaces: all in one. Raises ApiError."""
    listings = []
    for namespace in namespaces or (None,):
        inside = f"/namespaces/{namespace}" if namespace else ""
        found = await api.get(f"/apis/{API_VERSION}{inside}/{plural}", accept=_NAMES_ONLY, decode=_LIST.decode)
        names = {
            ObjectKey(kind, item.metadata.namespace, item.metadata.name): int(item.metadata.resource_version)
            for item in found.items or ()
        }
        listings.append(Listing(kind, namespace, int(found.metadata.resource_version), names))
    return listings
