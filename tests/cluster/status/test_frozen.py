"""A holder that was frozen writes nothing any more once another replica has begun, judged by etcd's own order."""

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_lab.kubernetes.program import Program

PATIENCE_S = 30.0
ROUNDS = 4


@dataclass(slots=True)
class History:
    """Who wrote a status, and who held the Lease, each at its place in the one order of the API server."""

    writes: dict[int, str] = field(default_factory=dict)
    holders: dict[int, str | None] = field(default_factory=dict)

    def intruders(self) -> list[tuple[int, str, str | None]]:
        """Writes by one who did not hold the Lease at that moment."""
        found = []
        holder: str | None = None
        for version in sorted(self.writes.keys() | self.holders.keys()):
            holder = self.holders.get(version, holder)
            if version in self.writes and self.writes[version] != holder:
                found.append((version, self.writes[version], holder))
        return found

    def last_writer(self) -> str | None:
        return self.writes[max(self.writes)] if self.writes else None


def follow(server: ApiServer, path: str, take: Callable[[int, Any], None], ended: threading.Event) -> None:
    """Every change of a collection from now on, in one-second watches that each go on where the last one ended."""
    version = server.request("GET", path).json()["metadata"]["resourceVersion"]
    last = False
    while not last:
        last = ended.is_set()  # One more look when it is over.
        answer = server.request("GET", f"{path}?watch=true&timeoutSeconds=1&resourceVersion={version}")
        for line in answer.raise_for_status().text.splitlines():
            event = msgspec.json.decode(line)
            assert event["type"] in ("ADDED", "MODIFIED"), f"the history has a gap: {event}"
            version = event["object"]["metadata"]["resourceVersion"]
            take(int(version), event["object"])


@contextmanager
def recorded(server: ApiServer, namespace: str) -> Iterator[History]:
    """All that happens to the policies and the leases of a namespace."""
    history = History()
    ended = threading.Event()

    def take_status(version: int, item: Any) -> None:
        for condition in item.get("status", {}).get("conditions", ()):
            if condition["type"] == "Accepted":  # other conditions have words of their own
                history.writes[version] = condition["message"].split()[0]

    def take_lease(version: int, item: Any) -> None:
        history.holders[version] = item["spec"].get("holderIdentity")

    with ThreadPoolExecutor(2) as threads:
        following = [
            threads.submit(follow, server, f"/apis/{group}/namespaces/{namespace}/{plural}", take, ended)
            for group, plural, take in (
                ("limpet.dev/v1alpha1", "stickypolicies", take_status),
                ("coordination.k8s.io/v1", "leases", take_lease),
            )
        ]
        try:
            yield history
        finally:
            ended.set()
        for each in following:
            each.result()


def policies(count: int) -> list[dict[str, Any]]:
    return [
        {"apiVersion": "limpet.dev/v1alpha1", "kind": "StickyPolicy", "metadata": {"name": f"p{number}"}}
        for number in range(count)
    ]


class Theatre:
    """Two writers in one namespace, and what they did."""

    def __init__(self, server: ApiServer, namespace: str, directory: Path, *flags: str) -> None:
        server.apply(*policies(20), namespace=namespace).ok()
        module = (sys.executable, "-m", "tests.cluster.status.writer", str(server.kubeconfig), namespace)
        self.writers = {
            name: Program(name, (*module, name, *flags), directory / f"{name}.log") for name in ("anna", "bert")
        }

    @contextmanager
    def open(self) -> Iterator[None]:
        with ExitStack() as stack:
            for writer in self.writers.values():
                writer.start()
                stack.callback(writer.stop)
            yield

    def until_writing(self, history: History, not_by: str | None = None) -> str:
        """The one who writes, once it is another."""
        deadline = time.monotonic() + PATIENCE_S
        while (who := history.last_writer()) in (None, not_by):
            words = "".join(writer.log_tail() for writer in self.writers.values())
            assert time.monotonic() < deadline, f"only {not_by} writes\n{words}"
            time.sleep(0.05)
        assert who is not None
        return who


def freeze_and_thaw(theatre: Theatre, history: History, rounds: int) -> None:
    """The holder is frozen in the middle of its work until the other one works, again and again."""
    rng = random.Random(4)
    who = theatre.until_writing(history)
    for _ in range(rounds):
        time.sleep(rng.uniform(0.2, 0.6))
        theatre.writers[who].freeze()
        successor = theatre.until_writing(history, not_by=who)
        time.sleep(0.2)
        theatre.writers[who].thaw()
        time.sleep(1.0)
        who = successor


def test_who_wakes_up_after_another_has_begun_writes_nothing(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    theatre = Theatre(apiserver, namespace, tmp_path)
    with recorded(apiserver, namespace) as history, theatre.open():
        freeze_and_thaw(theatre, history, ROUNDS)
    assert len(history.writes) > 100
    assert len(set(history.holders.values())) == 2
    assert history.intruders() == []


def test_without_the_fence_the_same_play_has_intruders(apiserver: ApiServer, namespace: str, tmp_path: Path) -> None:
    theatre = Theatre(apiserver, namespace, tmp_path, "trusting")
    with recorded(apiserver, namespace) as history, theatre.open():
        freeze_and_thaw(theatre, history, ROUNDS)  # a writer frozen between two writes has nothing to finish
    assert history.intruders() != []
