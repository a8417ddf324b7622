"""Gives sidecars time: to have a cluster before a route leads to it, and to lose the route before the cluster.

Nobody tells what sidecars have of a mesh's objects, so it is the time since they were written that counts.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping

from limpet_operator.upkeep.steps import IstioKey, Step, asked_in


class _Lasting:
    """Since when something has held, by subject."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}

    def note(self, holding: Collection[str]) -> None:
        """It holds for these now, and for no others."""
        now_s = self._clock()
        self._since = {subject: self._since.get(subject, now_s) for subject in holding}

    def remaining_s(self, subjects: Iterable[str], lasting_s: float) -> float:
        """Until it has held for so long for each of these; infinite while it does not hold for one."""
        now_s = self._clock()
        return max(self._since.get(each, math.inf) + lasting_s - now_s for each in subjects)

    def forget(self) -> None:
        """Begin anew."""
        self._since.clear()


class Settling:
    """All times are from when this replica first saw it, as another may have written it just before."""

    def __init__(self, settle_s: float, clock: Callable[[], float]) -> None:
        """`clock` is monotonic; seconds."""
        self._settle_s = settle_s
        self._clusters = _Lasting(clock)
        """There, with all that they need."""
        self._asked = _Lasting(clock)
        """What has the sidecars of a namespace ask is there."""
        self._still = _Lasting(clock)
        """All is written that its sidecars need."""
        self._unrouted = _Lasting(clock)
        """Nothing leads there."""
        self._routed: frozenset[str] = frozenset()

    def forget(self) -> None:
        """Another replica may write for a while."""
        self._clusters.forget()
        self._asked.forget()
        self._still.forget()
        self._unrouted.forget()

    def note(
        self,
        wanted: Mapping[IstioKey, Step],
        to_write: Collection[IstioKey],
        there: Mapping[IstioKey, Step],
    ) -> None:
        """What is wanted, what of it is not yet as it should be, and what there is of ours."""
        missing = [step for key, step in wanted.items() if key in to_write]
        self._clusters.note(_clusters(wanted.values()) - _clusters(missing))
        asking = _asking(wanted.values())
        self._asked.note(asking - _asking(missing))
        self._still.note(asking - {asked_in(namespace) for kind, namespace, _ in to_write if kind == "EnvoyFilter"})
        everything = _subjects((*there.values(), *wanted.values()))
        self._unrouted.note(everything - _subjects(step for step in there.values() if step.is_routes))
        self._routed = _subjects(step for step in wanted.values() if step.is_routes)

    def before_writing_s(self, step: Step, asked: str, *, new: bool) -> float:
        """How long to wait with an object whose turn it is; `asked` is `asked_in` of its namespace."""
        if not step.is_routes:
            return 0.0
        if not new:
            # It leads to a cluster that sidecars have, perhaps from hosts that they have not been told to ask about.
            return self._asked.remaining_s([asked], 0.0)
        return max(
            self._clusters.remaining_s(step.subjects, self._settle_s),
            self._asked.remaining_s([asked], self._settle_s),
        )

    def before_removing_s(self, step: Step) -> float:
        """The same for one that nothing needs any more."""
        if step.is_asking:
            return self._still.remaining_s(step.subjects, self._settle_s)
        if not step.is_cluster or step.subjects & self._routed:
            return 0.0
        return self._unrouted.remaining_s(step.subjects, self._settle_s)


def _clusters(steps: Iterable[Step]) -> frozenset[str]:
    return _subjects(step for step in steps if not (step.is_routes or step.is_asking))


def _asking(steps: Iterable[Step]) -> frozenset[str]:
    return _subjects(step for step in steps if step.is_asking)


def _subjects(steps: Iterable[Step]) -> frozenset[str]:
    return frozenset().union(*(step.subjects for step in steps))
