"""Two replicas in conversation, message by message: what is known, and what may be taken away from an Envoy."""

from collections import deque
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from limpet_operator.fleet.acks import GatewayState
from limpet_operator.fleet.link import Link, News, Own
from limpet_operator.fleet.peer_contract import Message, NodeChange, Told, Took, decode, encode
from limpet_operator.fleet.traffic import Summary


def state(node: str, *clusters: str, **rejected: str) -> GatewayState:
    return GatewayState(node, dict.fromkeys(clusters, "1"), rejected)


def own(*nodes: GatewayState, leaving: frozenset[str] = frozenset(), **traffic: Summary) -> Own:
    return Own({each.node: each for each in nodes}, leaving, traffic)


def test_everything_is_told_once_and_then_what_differs() -> None:
    teller, hearer = Link("hearer"), Link("teller")
    e, f = state("e", "a"), state("f", "a")
    first = teller.tell(own(e, f, a=Summary(up=2)))
    assert first is not None
    assert hearer.heard(first) == News({"e", "f"}, {"a"})
    assert (hearer.nodes, hearer.traffic) == ({"e": e, "f": f}, {"a": Summary(up=2)})
    assert teller.tell(own(e, f, a=Summary(up=2))) is None
    assert teller.tell(own(state("e", "a"), f, a=Summary(up=2))) is None, "a new object that says the same"
    second = teller.tell(own(e, state("g", "b", c="no such file"), b=Summary(down=1, reason="down")))
    g = NodeChange("g", {"b": "1"}, (), {"c": "no such file"})
    assert second == Told(2, (g,), ("f",), (), {"b": Summary(down=1, reason="down")}, ("a",))
    assert hearer.heard(second) == News({"f", "g"}, {"a", "b"})
    assert hearer.nodes.keys() == {"e", "g"}
    assert hearer.nodes["g"].rejected == {"c": "no such file"}
    assert hearer.traffic.keys() == {"b"}


def test_even_an_empty_world_is_told_once() -> None:
    link = Link("x")
    assert link.tell(Own()) == Told(1)
    assert link.tell(Own()) is None


def test_a_provider_may_go_when_the_other_side_says_so_about_the_newest_message() -> None:
    teller, hearer = Link("hearer"), Link("teller")

    def told(*has: str, leaving: set[str]) -> None:
        message = teller.tell(own(state("e", *has), leaving=frozenset(leaving)))
        assert message is not None
        hearer.heard(message)

    def answer(*deciding_by: str) -> Took | None:
        message = hearer.answer(set(deciding_by))
        if message is not None:
            teller.heard(message)
        return message

    told("a", "b", leaving=set())
    assert answer("a", "b") == Took(1)
    told("b", leaving={"a"})
    assert answer("a", "b") == Took(2, ("a",))
    assert teller.agreed == frozenset()
    assert answer("b") == Took(2)
    assert teller.agreed == {"a"}
    assert answer("b") is None, "nothing is answered twice"
    late = Took(2)
    told("a", "b", leaving=set())
    told("b", leaving={"a"})
    teller.heard(late)
    assert teller.agreed == frozenset(), "what was said before it came back is no consent"
    answer("b")
    assert teller.agreed == {"a"}
    told("a", leaving={"b"})
    assert teller.agreed == frozenset()


class Pair:
    """The Envoy is at the teller, its worker at the hearer; everything takes its time, nothing changes places."""

    def __init__(self) -> None:
        self.teller, self.hearer = Link("hearer"), Link("teller")
        self.there: deque[bytes] = deque()
        self.back: deque[bytes] = deque()
        self.envoy: set[str] = set()
        self.planned: set[str] = set()
        self.worker: set[str] = set()

    def plan(self, names: set[str]) -> None:
        self.planned = names
        self.envoy |= names

    def tell(self) -> None:
        has, leaving = self.envoy & self.planned, self.envoy - self.planned
        self._send(self.there, self.teller.tell(own(state("e", *has), leaving=frozenset(leaving))))

    def hear(self) -> None:
        self._receive(self.hearer, self.there)

    def announce(self) -> None:
        if "e" in self.hearer.nodes:
            self.worker = set(self.hearer.nodes["e"].clusters)
        self._send(self.back, self.hearer.answer(self.worker))

    def hear_back(self) -> None:
        self._receive(self.teller, self.back)

    def take_away(self) -> None:
        self.envoy -= (self.envoy - self.planned) & self.teller.agreed

    @staticmethod
    def _send(queue: deque[bytes], message: Message | None) -> None:
        if message is not None:
            queue.append(encode(message))

    @staticmethod
    def _receive(link: Link, queue: deque[bytes]) -> None:
        if queue:
            message = decode(queue.popleft())
            assert isinstance(message, Told | Took)
            link.heard(message)


STEP = st.tuples(st.sampled_from(["tell", "hear", "announce", "hear_back", "take_away"])) | st.tuples(
    st.just("plan"), st.sets(st.sampled_from("ab"))
)


@given(steps=st.lists(STEP, max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_worker_ever_decides_by_what_its_envoy_has_lost(steps: list[tuple[Any, ...]]) -> None:
    pair = Pair()
    for what, *arguments in [
        *steps,
        ("tell",),
        *[("hear",)] * 60,
        ("announce",),
        *[("hear_back",)] * 60,
        ("take_away",),
    ]:
        getattr(pair, what)(*arguments)
        assert pair.worker <= pair.envoy
    assert pair.envoy == pair.planned, "and everything that was to go has gone"
