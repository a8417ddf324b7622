"""Which objects may be written or removed now, so that no route ever leads to what a mesh does not know. Pure."""

import math
from collections.abc import Collection, Mapping
from typing import Final

IstioKey = tuple[str, str, str]
"""Kind, namespace and name."""

_ORDER: Final = ("ServiceEntry", "DestinationRule", "VirtualService", "EnvoyFilter")
"""Each kind may name what those before it make known."""
_RANK: Final = {kind: number for number, kind in enumerate(_ORDER)}


def next_steps(
    to_write: Mapping[IstioKey, Collection[str]], to_remove: Mapping[IstioKey, Collection[str]]
) -> frozenset[IstioKey]:
    """Those whose turn it is; both give what each object is about, as `ownership.subjects_of` does.

    An object waits until those of earlier kinds about the same are written; to be removed, until those of later kinds
    are.
    """
    return _first(to_write, 1) | _first(to_remove, -1)


def _first(steps: Mapping[IstioKey, Collection[str]], direction: int) -> frozenset[IstioKey]:
    earliest: dict[str, float] = {}
    for key, subjects in steps.items():
        for subject in subjects:
            earliest[subject] = min(direction * _RANK[key[0]], earliest.get(subject, math.inf))
    return frozenset(
        key
        for key, subjects in steps.items()
        if all(direction * _RANK[key[0]] <= earliest[subject] for subject in subjects)
    )
