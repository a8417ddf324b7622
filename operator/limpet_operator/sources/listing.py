"""Which objects exist now, by name and version only, to compare a watch with."""

from collections.abc import Sequence
from http import HTTPStatus

import msgspec

from limpet_operator.resources.problem import API_VERSION, PLURALS, ObjectKey
from limpet_operator.sources.cluster_store import Listing
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.kube_reader import KubeReader

_NAMES_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


class _ObjectName(msgspec.Struct):
    name: str
    namespace: str
    resource_version: str = msgspec.field(name="resourceVersion")


class _Item(msgspec.Struct):
    metadata: _ObjectName


class _ListMeta(msgspec.Struct):
    resource_version: str = msgspec.field(name="resourceVersion")


class _List(msgspec.Struct):
    metadata: _ListMeta
    items: list[_Item] | None = None


_LIST = msgspec.json.Decoder(_List)


async def list_names(api: KubeReader, namespaces: Sequence[str]) -> tuple[list[Listing], dict[str, str]]:
    """All objects of our kinds, and the namespaces that may not be read, with the reason. No namespaces: all, as one.

    A namespace is read as a whole or not at all: its Providers without their prices would be a state that never was.
    Raises ApiError where nothing can be read.
    """
    listings: list[Listing] = []
    refused: dict[str, str] = {}
    for namespace in namespaces or (None,):
        try:
            listings += [await _listing(api, kind, plural, namespace) for kind, plural in PLURALS.items()]
        except ApiError as error:
            # To an account with rights in some namespaces only, one that does not exist is forbidden as well.
            if error.status != HTTPStatus.FORBIDDEN or namespace is None or len(refused) == len(namespaces) - 1:
                raise
            refused[namespace] = str(error)
    return listings, refused


async def _listing(api: KubeReader, kind: str, plural: str, namespace: str | None) -> Listing:
    inside = f"/namespaces/{namespace}" if namespace else ""
    found = await api.get(f"/apis/{API_VERSION}{inside}/{plural}", accept=_NAMES_ONLY, decode=_LIST.decode)
    names = {
        ObjectKey(kind, item.metadata.namespace, item.metadata.name): int(item.metadata.resource_version)
        for item in found.items or ()
    }
    return Listing(kind, namespace, int(found.metadata.resource_version), names)
