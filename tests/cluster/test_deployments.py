"""The pure half of rolling updates, held to what Kubernetes promises of them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.cluster.deployments import PodView, Step, Wanted, status, step, wanted


def pods(*each: str) -> list[PodView]:
    """`new+` is ready, `old-` not, a `!` says that it is ending."""
    return [
        PodView(f"{number}", text.strip("+-!"), "+" in text, "!" in text) for number, text in enumerate(each, start=1)
    ]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ((), Step(2)),
        (("new+", "new-"), Step()),
        (("new+", "new+", "new+"), Step(end=("3",))),
        (("new+", "new-", "new+"), Step(end=("2",))),
        (("old+", "old+"), Step(1)),
        (("old+", "old+", "new-"), Step()),
        (("old+", "old+", "new+"), Step(end=("1",))),
        (("old+!", "old+", "new+"), Step(1)),
        (("old-", "old-"), Step(1)),
        (("old+", "old-", "new-"), Step()),
        (("old+!", "old+!", "new+", "new+"), Step()),
    ],
)
def test_the_next_step_of_two_replicas_with_one_more_allowed(now: tuple[str, ...], expected: Step) -> None:
    assert step(Wanted(2, "new", surge=1, unavailable=0), pods(*now)) == expected


def test_recreate_ends_all_before_it_makes_any() -> None:
    want = Wanted(1, "new", 0, 1, recreate=True)
    assert step(want, pods("old+")) == Step(end=("1",))
    assert step(want, pods("old+!")) == Step()
    assert step(want, []) == Step(1)


@given(
    st.integers(1, 4),
    st.integers(0, 3),
    st.integers(0, 3),
    st.lists(st.sampled_from(["new+", "new-", "old+", "old-", "old+!", "new-!"]), max_size=8),
)
def test_a_step_takes_no_ready_pod_that_is_needed_and_makes_none_too_many(
    replicas: int, surge: int, unavailable: int, now: list[str]
) -> None:
    want, seen = Wanted(replicas, "new", surge, max(unavailable, 0 if surge else 1)), pods(*now)
    done = step(want, seen)
    alive = [pod for pod in seen if not pod.terminating]
    assert done.create == 0 or len(alive) + done.create <= replicas + want.surge
    ready = [pod for pod in alive if pod.ready]
    left = [pod for pod in ready if pod.name not in done.end]
    assert len(left) == len(ready) or len(left) >= replicas - want.unavailable


def deployment(replicas: int, surge: Any, unavailable: Any) -> dict[str, Any]:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    return {"metadata": {"generation": 3}, "spec": {"replicas": replicas, "strategy": strategy, "template": {}}}


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "expected"),
    [(2, "25%", "25%", (1, 0)), (8, "25%", "25%", (2, 2)), (3, 0, 0, (0, 1)), (2, 1, 0, (1, 0)), (4, "30%", 1, (2, 1))],
)
def test_shares_are_rounded_as_kubernetes_rounds_them(
    replicas: int, surge: Any, unavailable: Any, expected: tuple[int, int]
) -> None:
    want = wanted(deployment(replicas, surge, unavailable))
    assert (want.surge, want.unavailable) == expected


def test_the_status_says_when_a_rollout_is_complete() -> None:
    object_ = deployment(2, 1, 0)
    revision = wanted(object_).revision
    done = [
        PodView("a", revision, ready=True, terminating=False),
        PodView("b", revision, ready=True, terminating=False),
    ]
    assert status(object_, done)["conditions"][1]["reason"] == "NewReplicaSetAvailable"
    assert status(object_, done[:1])["conditions"][0]["status"] == "False"
    assert status(object_, done)["observedGeneration"] == 3
