"""What a Deployment wants next: pure, by the rules of Kubernetes' own controller (without ReplicaSets and pauses)."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PodView:
    """What counts of a pod."""

    name: str
    revision: str
    ready: bool
    terminating: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """What counts of a Deployment."""

    replicas: int
    revision: str
    surge: int
    unavailable: int
    recreate: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """How many pods of the wanted revision to make, and which to end."""

    create: int = 0
    end: tuple[str, ...] = ()


def revision_of(template: Mapping[str, Any]) -> str:
    """A short name for everything in a pod template."""
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def wanted(deployment: Mapping[str, Any]) -> Wanted:
    """Read a Deployment as the API server returns it, defaults filled in."""
    spec = deployment["spec"]
    replicas: int = spec["replicas"]
    strategy = spec["strategy"]
    revision = revision_of(spec["template"])
    if strategy["type"] == "Recreate":
        return Wanted(replicas, revision, 0, replicas, recreate=True)
    rolling = strategy["rollingUpdate"]
    surge = _share(rolling["maxSurge"], replicas, up=True)
    unavailable = _share(rolling["maxUnavailable"], replicas, up=False)
    # Kubernetes' own rule: with both at 0 nothing could ever move.
    return Wanted(replicas, revision, surge, unavailable if surge or unavailable else 1)


def _share(value: int | str, of: int, *, up: bool) -> int:
    if isinstance(value, int):
        return value
    part = of * int(value.removesuffix("%")) / 100
    return math.ceil(part) if up else math.floor(part)


def step(want: Wanted, pods: Sequence[PodView]) -> Step:
    """The next step of a rollout, a scaling or nothing. `pods` are ordered by age, oldest first."""
    alive = [pod for pod in pods if not pod.terminating]
    new = [pod for pod in alive if pod.revision == want.revision]
    old = [pod for pod in alive if pod.revision != want.revision]
    # Of those too many the first to go are those that do no work, then the youngest.
    youngest_first = [*reversed(new)]
    excess = sorted(youngest_first, key=lambda pod: pod.ready)[: max(0, len(new) - want.replicas)]
    if want.recreate:
        if len(pods) > len(new):
            return Step(end=tuple(pod.name for pod in old))
        return Step(want.replicas - len(new) if not excess else 0, tuple(pod.name for pod in excess))
    room = want.replicas + want.surge - len(alive)
    create = max(0, min(want.replicas - len(new), room))
    needed = want.replicas - want.unavailable
    spare = len(alive) - needed - sum(not pod.ready for pod in new)
    idle = [pod for pod in old if not pod.ready][: max(0, spare)]
    spare_ready = sum(pod.ready for pod in alive) - needed - sum(pod.ready for pod in excess)
    # Old pods make room only while enough others are ready.
    working = [pod for pod in old if pod.ready][: max(0, spare_ready)]
    return Step(create, tuple(pod.name for pod in (*excess, *idle, *working)))


def status(deployment: Mapping[str, Any], pods: Sequence[PodView]) -> dict[str, Any]:
    """The status that `kubectl rollout status` and Helm's waiting read."""
    want = wanted(deployment)
    alive = [pod for pod in pods if not pod.terminating]
    updated = [pod for pod in alive if pod.revision == want.revision]
    ready = sum(pod.ready for pod in alive)
    updated_ready = sum(pod.ready for pod in updated)
    complete = updated_ready == want.replicas and len(alive) == want.replicas
    available = ready >= want.replicas - want.unavailable
    return {
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": len(alive),
        "updatedReplicas": len(updated),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(0, want.replicas - ready),
        "conditions": [
            {
                "type": "Available",
                "status": "True" if available else "False",
                "reason": "MinimumReplicasAvailable" if available else "MinimumReplicasUnavailable",
            },
            {
                "type": "Progressing",
                "status": "True",
                "reason": "NewReplicaSetAvailable" if complete else "ReplicaSetUpdated",
            },
        ],
    }
