"""Messages between replicas come back the same and are small; what is no message is refused with a reason."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.health_stream import ProbeAnswer, Probed, ProbeRequest, ProbeVerdicts
from limpet_operator.fleet.peer_contract import (
    PEER_VERSION,
    GatewayChange,
    PeerAck,
    PeerAnswer,
    PeerHello,
    PeerMessage,
    PeerMismatch,
    PeerObserved,
    PeerProbe,
    PeerUpdate,
    PeerVerdicts,
    applied,
    decode,
    difference,
    encode,
)
from limpet_operator.fleet.tally import Tally
from limpet_operator.fleet.traffic import Summary
from limpet_operator.fleet.view import GatewayState

NAMES = st.sampled_from(["a", "b", "ns/c"])
WORDS = st.dictionaries(NAMES, st.sampled_from(["1", "2"]))
TALLIES = st.builds(Tally, st.integers(), out=st.sampled_from(["", "down"]))
STATES = st.builds(GatewayState, st.just("n"), WORDS, WORDS)
MESSAGES: st.SearchStrategy[PeerMessage] = st.one_of(
    st.builds(PeerHello, st.text()),
    st.builds(PeerAck, st.integers(), st.lists(NAMES).map(tuple)),
    st.builds(
        PeerUpdate,
        st.integers(),
        st.lists(st.builds(GatewayChange, st.text(), WORDS, st.lists(NAMES).map(tuple), st.none() | WORDS)).map(tuple),
        st.lists(st.text()).map(tuple),
        st.lists(NAMES).map(tuple),
        st.dictionaries(NAMES, st.builds(Summary, TALLIES, st.dictionaries(NAMES, TALLIES))),
    ),
    st.builds(PeerObserved, st.text(), st.sampled_from([b"[]", b'[["TrialBegan","a",""]]']).map(msgspec.Raw)),
    st.builds(PeerVerdicts, st.builds(ProbeVerdicts, st.lists(st.builds(Probed, NAMES, st.just("Down"))).map(tuple))),
    st.builds(
        PeerProbe,
        st.integers(0, 2**53),
        st.builds(ProbeRequest, st.just(0), NAMES, st.just("GET"), st.text()),
        st.none() | NAMES,
    ),
    st.builds(PeerAnswer, st.integers(0, 2**53), st.none() | st.builds(ProbeAnswer, st.just(1), body=st.text())),
)


@given(MESSAGES)
def test_a_message_comes_back_the_same(message: PeerMessage) -> None:
    assert decode(encode(message)) == message


@given(before=st.none() | STATES, now=STATES)
def test_a_difference_applied_is_the_state_and_holds_nothing_else(
    before: GatewayState | None, now: GatewayState
) -> None:
    change = difference(before, now)
    assert applied(before, change) == now
    assert difference(now, now) == GatewayChange("n")
    if before is not None:
        assert change.clusters.keys() <= now.clusters.keys()
        assert not any(before.clusters.get(name) == version for name, version in change.clusters.items())


def test_one_change_among_a_thousand_providers_is_a_few_bytes() -> None:
    many = {f"team-{i}/provider": "0123456789abcdef" for i in range(1000)}
    change = difference(
        GatewayState("n", many, {}), GatewayState("n", many | {"team-7/provider": "fedcba9876543210"}, {})
    )
    assert len(encode(PeerUpdate(2, (change,)))) < 200
    assert len(encode(PeerUpdate(1, (difference(None, GatewayState("n", many, {})),)))) < 50_000


STRANGERS = [
    (encode(PeerHello("x", version=PEER_VERSION + 1)), f"version {PEER_VERSION + 1}, this one {PEER_VERSION}"),
    (b"{}", "not a message of peer version"),
    (b"\xff", "not a message of peer version"),
]


@pytest.mark.parametrize(("data", "words"), STRANGERS)
def test_another_version_is_refused_with_a_reason(data: bytes, words: str) -> None:
    with pytest.raises(PeerMismatch, match=words):
        decode(data)
