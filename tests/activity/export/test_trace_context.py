"""The client's trace, or one of its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_activity.export.trace_context import client_context, span_id, trace_id

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("traceparent", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"cc-{TRACE}-{SPAN}-01-what-a-later-version-says", True),
    ],
)
def test_a_valid_one_names_trace_span_and_whether_it_is_sampled(traceparent: str, sampled: bool) -> None:
    context = client_context(traceparent)
    assert context is not None
    assert (f"{context.trace_id:032x}", f"{context.span_id:016x}") == (TRACE, SPAN)
    assert (context.trace_flags.sampled, context.is_remote) == (sampled, True)


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01x",
        f"00-{TRACE}{SPAN}01",
    ],
)
def test_any_other_names_none(traceparent: str) -> None:
    assert client_context(traceparent) is None


@given(st.text())
def test_whatever_comes_is_read(traceparent: str) -> None:
    client_context(traceparent)


@given(st.text(), st.text())
def test_ids_belong_to_one_record_and_are_valid(one: str, other: str) -> None:
    assert 0 < trace_id(one) < 2**128
    assert 0 < span_id(one, "request") < 2**64
    assert trace_id(one) == trace_id(one)
    assert span_id(one, "request") != span_id(one, "attempt 0")
    assert (trace_id(one) == trace_id(other)) == (one == other)
