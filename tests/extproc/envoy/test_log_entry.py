"""What is read of an access log entry; how it is used is in test_outcome."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.envoy.log_entry import retry_after_s

NOW = 1_760_000_000.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30", 30.0),
        ("0", None),
        ("-5", None),
        ("1.5", 1.5),
        ("Thu, 09 Oct 2025 08:54:10 GMT", 50.0),
        ("Thu, 09 Oct 2025 08:00:00 GMT", None),
        ("soon", None),
        ("", None),
        ("Thu, 99 Oct 2025 08:00:00 GMT", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("1e999", None),
        ("nan", None),
        ("1e300", 1e300),
    ],
)
def test_retry_after_is_read_in_both_its_forms(text: str, expected: float | None) -> None:
    assert retry_after_s(text, NOW) == expected


_ABSURD = st.one_of(
    st.text(max_size=40),
    st.floats().map(str),
    st.integers().map(str),
    st.builds(
        "Mon, {:02} Jan {} {:02}:00:00 {}".format, st.integers(0, 99), st.integers(), st.integers(0, 99), st.text()
    ),
)


@given(_ABSURD)
def test_any_retry_after_is_a_wait_or_none(text: str) -> None:
    seconds = retry_after_s(text, NOW)
    assert seconds is None or 0 < seconds < inf
