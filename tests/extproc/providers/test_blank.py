"""Providers' words go to logs and status; keys in them do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.providers.blank import blanked


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Incorrect API key provided: sk-abc****wxyz.", "Incorrect API key provided: [key]"),
        ("bad key sk-proj-AbCdEf123456_x-y", "bad key [key]"),
        ("AIzaSyA1234567890abcdefghijklmnop is not valid", "[key] is not valid"),
        ("Authorization: Bearer abcdef.ghij.klmn", "Authorization: Bearer [key]"),
        ("token 0123456789abcdef0123456789abcdef refused", "token [key] refused"),
        ("key ending in ****7f3a", "key ending in [key]"),
        ("The model 'gpt-oss-120b' does not exist", "The model 'gpt-oss-120b' does not exist"),
        ("Rate limit reached:\n  60 requests per minute", "Rate limit reached: 60 requests per minute"),
        ("", ""),
    ],
)
def test_what_looks_like_a_key_is_blanked_and_the_rest_stays(said: str, shown: str) -> None:
    assert blanked(said) == shown


@given(
    st.text(max_size=30),
    st.sampled_from(["sk-", "gsk_", "xai-", "hf_", "Bearer "]),
    st.from_regex(r"[A-Za-z0-9]{20,40}", fullmatch=True),
    st.text(max_size=30),
)
def test_no_key_survives_whatever_stands_around_it(before: str, prefix: str, key: str, after: str) -> None:
    assert key not in blanked(f"{before} {prefix}{key} {after}")
