"""The decision record survives its journey through Envoy, and an unknown one does no harm."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from limpet_extproc.contract.record import Record, decode, encode

SECONDS = st.floats(0, 2e9)
NAMES = st.lists(st.text(max_size=8), max_size=4).map(tuple)
RECORDS = st.builds(
    Record,
    key=st.binary(min_size=16, max_size=16),
    model=st.text(),
    identified_by=st.text(),
    reason=st.text(),
    enforce_reason=st.none() | st.text(),
    order=NAMES,
    ttls_s=st.lists(SECONDS, max_size=4).map(tuple),
    started_s=SECONDS,
    prompt_tokens=st.integers(0, 10**7),
    max_providers=st.integers(1, 16),
    learn=st.booleans(),
)


@given(RECORDS)
def test_a_record_comes_back_as_it_went(record: Record) -> None:
    assert decode(encode(record)) == record


@given(
    RECORDS,
    st.sampled_from([{"api": "images"}, {"excluded": {"a": "down"}}, {"enforce_provider": "b"}, {"client": "c"}]),
)
def test_so_does_one_that_says_more_than_most(record: Record, more: dict[str, object]) -> None:
    said = replace(record, chain=b"chain", traceparent="00-", **more)
    assert decode(encode(said)) == said


def test_what_most_records_have_alike_does_not_travel() -> None:
    usual = Record(b"k" * 16, "m", "x", "r", None, ("a",), (300,), 1.76e9, 1, 4, learn=True)
    assert len(encode(replace(usual, enforce_provider="a"))) - len(encode(usual)) > len("OpenAIChat") + len(
        "conversation"
    )


@pytest.mark.parametrize(
    "text", ["", "null", "{}", "[]", "k", "////", "é", '["k","m","s","r",null,"not a list",[],0,0,0,true]']
)
def test_what_another_version_wrote_teaches_nothing(text: str) -> None:
    assert decode(text) is None
