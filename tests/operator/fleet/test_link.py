"""Two replicas in conversation, message by message: what is known, and what may be taken away from an Envoy."""

from collections import deque
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from limpet_operator.fleet.link import OwnReport, PeerLink
from limpet_operator.fleet.peer_contract import GatewayChange, PeerAck, PeerMessage, PeerUpdate, decode, encode
from limpet_operator.fleet.tally import Tally
from limpet_operator.fleet.traffic import Summary
from limpet_operator.fleet.view import GatewayState
from limpet_operator.serve.change_set import Changed


def state(node: str, *clusters: str, **rejected: str) -> GatewayState:
    return GatewayState(node, dict.fromkeys(clusters, "1"), rejected)


def own(*nodes: GatewayState, leaving: frozenset[str] = frozenset(), **traffic: Summary) -> OwnReport:
    return OwnReport({each.name: each for each in nodes}, leaving, traffic)


def test_everything_is_sent_once_and_then_what_differs() -> None:
    sender, receiver = PeerLink("receiver"), PeerLink("sender")
    e, f = state("e", "a"), state("f", "a")
    first = sender.next_update(own(e, f, a=Summary(Tally(2))))
    assert first is not None
    assert receiver.receive(first) == Changed({"e", "f"}, {"a"})
    assert (receiver.gateways, receiver.traffic) == ({"e": e, "f": f}, {"a": Summary(Tally(2))})
    assert sender.next_update(own(e, f, a=Summary(Tally(2)))) is None
    assert sender.next_update(own(state("e", "a"), f, a=Summary(Tally(2)))) is None, "a new object that is equal"
    second = sender.next_update(own(e, state("g", "b", c="no such file"), b=Summary(Tally(out="down"))))
    g = GatewayChange("g", {"b": "1"}, (), {"c": "no such file"})
    assert second == PeerUpdate(2, (g,), ("f",), (), {"b": Summary(Tally(out="down"))}, ("a",))
    assert receiver.receive(second) == Changed({"f", "g"}, {"a", "b"})
    assert receiver.gateways.keys() == {"e", "g"}
    assert receiver.gateways["g"].rejected == {"c": "no such file"}
    assert receiver.traffic.keys() == {"b"}


def test_even_an_empty_world_is_sent_once() -> None:
    link = PeerLink("x")
    assert link.next_update(OwnReport()) == PeerUpdate(1)
    assert link.next_update(OwnReport()) is None


def test_a_provider_may_go_when_the_newest_update_is_acknowledged() -> None:
    sender, receiver = PeerLink("receiver"), PeerLink("sender")

    def update(*has: str, leaving: set[str]) -> None:
        message = sender.next_update(own(state("e", *has), leaving=frozenset(leaving)))
        assert message is not None
        receiver.receive(message)

    def acknowledge(*deciding_by: str) -> PeerAck | None:
        message = receiver.next_ack(set(deciding_by))
        if message is not None:
            sender.receive(message)
        return message

    update("a", "b", leaving=set())
    assert acknowledge("a", "b") == PeerAck(1)
    update("b", leaving={"a"})
    assert acknowledge("a", "b") == PeerAck(2, ("a",))
    assert sender.agreed == frozenset()
    assert acknowledge("b") == PeerAck(2)
    assert sender.agreed == {"a"}
    assert acknowledge("b") is None, "nothing is acknowledged twice"
    late = PeerAck(2)
    update("a", "b", leaving=set())
    update("b", leaving={"a"})
    sender.receive(late)
    assert sender.agreed == frozenset(), "what was sent before it came back is no consent"
    acknowledge("b")
    assert sender.agreed == {"a"}
    update("a", leaving={"b"})
    assert sender.agreed == frozenset()


class Pair:
    """The Envoy is at the sender, its worker at the receiver; messages take their time and arrive in order."""

    def __init__(self) -> None:
        self.sender, self.receiver = PeerLink("receiver"), PeerLink("sender")
        self.updates: deque[bytes] = deque()
        self.acks: deque[bytes] = deque()
        self.envoy: set[str] = set()
        self.planned: set[str] = set()
        self.worker: set[str] = set()

    def plan(self, names: set[str]) -> None:
        self.planned = names
        self.envoy |= names

    def update(self) -> None:
        has, leaving = self.envoy & self.planned, self.envoy - self.planned
        self._send(self.updates, self.sender.next_update(own(state("e", *has), leaving=frozenset(leaving))))

    def receive_update(self) -> None:
        self._receive(self.receiver, self.updates)

    def acknowledge(self) -> None:
        if "e" in self.receiver.gateways:
            self.worker = set(self.receiver.gateways["e"].clusters)
        self._send(self.acks, self.receiver.next_ack(self.worker))

    def receive_ack(self) -> None:
        self._receive(self.sender, self.acks)

    def take_away(self) -> None:
        self.envoy -= (self.envoy - self.planned) & self.sender.agreed

    @staticmethod
    def _send(queue: deque[bytes], message: PeerMessage | None) -> None:
        if message is not None:
            queue.append(encode(message))

    @staticmethod
    def _receive(link: PeerLink, queue: deque[bytes]) -> None:
        if queue:
            message = decode(queue.popleft())
            assert isinstance(message, PeerUpdate | PeerAck)
            link.receive(message)


STEP = st.tuples(st.sampled_from(["update", "receive_update", "acknowledge", "receive_ack", "take_away"])) | st.tuples(
    st.just("plan"), st.sets(st.sampled_from("ab"))
)


@given(steps=st.lists(STEP, max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_worker_ever_decides_by_what_its_envoy_has_lost(steps: list[tuple[Any, ...]]) -> None:
    pair = Pair()
    for what, *arguments in [
        *steps,
        ("update",),
        *[("receive_update",)] * 60,
        ("acknowledge",),
        *[("receive_ack",)] * 60,
        ("take_away",),
    ]:
        getattr(pair, what)(*arguments)
        assert pair.worker <= pair.envoy
    assert pair.envoy == pair.planned, "and everything that was to go has gone"
