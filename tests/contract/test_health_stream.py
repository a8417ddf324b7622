"""What travels on the health stream comes back the same, and what is no message of it is refused."""

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.catalog import ContractMismatch
from limpet_extproc.contract.health_stream import (
    VERDICTS,
    HealthHello,
    HealthOrder,
    HealthReport,
    Observed,
    ProbeAnswer,
    Probed,
    ProbeRequest,
    ProbeVerdicts,
    Relayed,
    Verdict,
    decode_order,
    decode_report,
    encode,
)

FINITE = st.floats(0, 1e9, allow_nan=False)
NUMBERS = st.integers(0, 2**53)
EVENTS = st.lists(st.tuples(st.text(), FINITE)).map(lambda events: msgspec.Raw(msgspec.json.encode(events)))
PROBED = st.builds(Probed, st.text(), st.sampled_from(VERDICTS), st.just("Overloaded"), FINITE, st.text(), NUMBERS)

REPORTS = st.one_of(
    st.builds(HealthHello, st.text()),
    st.builds(Observed, EVENTS),
    st.builds(ProbeAnswer, NUMBERS, st.integers(0, 599), st.text(), st.text(), st.text(), st.text(), FINITE),
)
ORDERS = st.one_of(
    st.builds(Relayed, EVENTS),
    st.builds(ProbeVerdicts, st.lists(PROBED, max_size=3).map(tuple), FINITE),
    st.builds(ProbeRequest, NUMBERS, st.text(), st.sampled_from(["GET", "POST"]), st.text(), st.text(), FINITE),
)


@given(REPORTS)
def test_a_workers_message_comes_back_the_same(report: HealthReport) -> None:
    assert decode_report(encode(report)) == report


@given(ORDERS)
def test_the_operators_message_comes_back_the_same(order: HealthOrder) -> None:
    assert decode_order(encode(order)) == order


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"type":"Hello","node":"n"}', b"\xff\xfe"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    for decode in (decode_report, decode_order):
        with pytest.raises(ContractMismatch, match="not a message of the health stream"):
            decode(data)


def test_an_optional_addition_of_a_newer_peer_is_ignored() -> None:
    data = encode(HealthHello("n")).replace(b"}", b',"news":[1]}')
    assert decode_report(data) == HealthHello("n")


def test_verdicts_are_listed_from_the_best_to_the_worst() -> None:
    assert set(get_args(Verdict)) == set(VERDICTS)
    assert VERDICTS == ("Up", "Degraded", "Limited", "Down")
