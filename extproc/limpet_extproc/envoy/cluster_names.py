"""What the clusters of providers are called at an Envoy that is not ours, such as a sidecar of a mesh."""

import logging
import string
from functools import lru_cache
from typing import Final, NamedTuple

from limpet_extproc.contract.envoy import CLUSTER_NAMES, PLAIN_NAMES
from limpet_extproc.envoy.h2_frames import Request

_log = logging.getLogger(__name__)

_DEFAULT_NAMESPACE: Final = "default"
_FIELDS: Final = {"name", "namespace"}
_MOST_LOGGED: Final = 200


class ClusterNames(NamedTuple):
    """A template such as `outbound|80||{name}.{namespace}.providers.limpet.internal`; empty: one that cannot be used.

    Its fields are the name and the namespace of the Provider object; with both, no two providers have one cluster.
    """

    template: str

    @property
    def reads_answers(self) -> bool:
        """Whether its Envoy reads what answers report, as filters of ours do in clusters that have them."""
        return self.template != PLAIN_NAMES

    def of(self, provider: str) -> str:
        """The cluster of a provider, by the name that it has in a catalog."""
        namespace, _, name = provider.rpartition("/")
        return self.template.format(name=name, namespace=namespace or _DEFAULT_NAMESPACE)


UNUSABLE: Final = ClusterNames("")


def cluster_names(template: str) -> ClusterNames:
    """Raises ValueError, which says what is wrong with it."""
    parts = list(string.Formatter().parse(template))
    fields = [field for _, field, _, _ in parts if field is not None]
    if any(form or conversion for _, _, form, conversion in parts):
        raise ValueError("a field has no format and no conversion")
    if unknown := sorted(set(fields) - _FIELDS):
        raise ValueError(f"its fields are {{name}} and {{namespace}}, not {{{unknown[0]}}}")
    if missing := sorted(_FIELDS - set(fields)):
        raise ValueError(f"it lacks {{{missing[0]}}}, so two providers could have one cluster")
    if "{name}{namespace}" in template or "{namespace}{name}" in template:
        raise ValueError("nothing stands between its fields, so two providers could have one cluster")
    if not (template.isascii() and template.isprintable()):
        raise ValueError("a cluster has a name of printable ASCII")
    return ClusterNames(template)


def names_asked_for(request: Request) -> ClusterNames | None:
    """By the metadata of a call; None: our own names. What is wrong with a template is logged once."""
    for key, value in request.metadata:
        if key == CLUSTER_NAMES:
            return _read(value)
    return None


@lru_cache(maxsize=64)
def _read(template: str) -> ClusterNames:
    try:
        return cluster_names(template)
    except ValueError as error:
        _log.error(
            "an Envoy names its clusters by the template %r, which cannot be used, so its requests are not decided: %s",
            template[:_MOST_LOGGED],
            error,
        )
        return UNUSABLE
