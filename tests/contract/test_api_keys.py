"""Messages and values go to logs and status; keys in them do not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.api_keys import BLANK, blanked, may_be_key

PREFIXES = (
    *(
        f"{word}{joint}"
        for word in ["sk", "pk", "rk", "gsk", "csk", "xai", "key", "nvapi", "hf", "r8", "fw", "fk", "tgp", "pplx"]
        for joint in "-_"
    ),
    *("AIza", "ya29.", "eyJ"),
)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_is_known_to_both_planes(prefix: str) -> None:
    key = f"{prefix}abcd"
    assert blanked(f"bad key {key} given") == f"bad key {BLANK} given"
    assert may_be_key(key)
    assert may_be_key(f"//{key}@host")
    assert not may_be_key(f"x{key}"), "the middle of a word"


@pytest.mark.parametrize("name", ["meta-llama-3-1-70b-instruct-fp8", "deepseek-v4", "gateway-7.example.internal"])
def test_names_that_users_write_are_shown(name: str) -> None:
    assert not may_be_key(name)


@pytest.mark.parametrize("key", ["0123456789abcdef0123456789abcdef", "aB3aB3aB3aB3aB3aB3aB3"])
def test_a_long_random_string_needs_no_prefix(key: str) -> None:
    assert may_be_key(key)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Incorrect API key provided: sk-abc****wxyz.", "Incorrect API key provided: [key]"),
        ("bad key sk-proj-AbCdEf123456_x-y", "bad key [key]"),
        ("AIzaSyA1234567890abcdefghijklmnop is not valid", "[key] is not valid"),
        ("Authorization: Bearer abcdef.ghij.klmn", "Authorization: Bearer [key]"),
        ("token 0123456789abcdef0123456789abcdef refused", "token [key] refused"),
        ("key ending in ****7f3a", "key ending in [key]"),
        ("The model 'gpt-oss-120b' does not exist", "The model 'gpt-oss-120b' does not exist"),
        ("Rate limit reached:\n  60 requests per minute", "Rate limit reached: 60 requests per minute"),
        ("Authorization: Basic dXNlcjpzZWNyZXRwYXNz is wrong", "Authorization: Basic [key] is wrong"),
        ("bad bearer Zm9vOmJhcmJh", "bad bearer [key]"),
        (
            "Basic authentication is off, Bearer token is missing",
            "Basic authentication is off, Bearer token is missing",
        ),
        ("SK-PROJ-ABC123 is revoked", "[key] is revoked"),
        ("sk%2Dproj%2DABCDEF1234 is revoked", "[key] is revoked"),
        ("ghp_abcdefgh12 has no access", "[key] has no access"),
        ("AKIAIOSFODNN7EXAMPLE has no access", "[key] has no access"),
        ("Incorrect API key: hunter2-team-secret", "Incorrect API key: [key]"),
        ("wrong api_key=correcthorse&x=1", "wrong api_key=[key]&x=1"),
        ("the key: value pairs of gpt-4o-mini-2024-07-18", "the key: value pairs of gpt-4o-mini-2024-07-18"),
        ("sk-\u200bproj-ABCDEF", "[key]"),
        ("\x1b[31mred\x07 \u202etxet\x00\u2028level=error", "[31mred txet level=error"),
        ("", ""),
    ],
)
def test_what_looks_like_a_key_is_blanked_and_the_rest_stays(message: str, shown: str) -> None:
    assert blanked(message) == shown


@given(
    st.text(max_size=30),
    st.sampled_from([*PREFIXES, "Bearer "]),
    st.from_regex(r"[A-Za-z0-9]{20,40}", fullmatch=True),
    st.text(max_size=30),
)
def test_no_key_survives_whatever_stands_around_it(before: str, prefix: str, key: str, after: str) -> None:
    assert key not in blanked(f"{before} {prefix}{key} {after}")


def test_a_key_that_is_known_is_blanked_whatever_it_looks_like() -> None:
    assert blanked("correct/horse, or correct%2Fhorse", ["correct/horse"]) == f"{BLANK}, or {BLANK}"
    assert blanked("an ant is no key", ["an"]) == "an ant is no key"
    assert "horse" not in blanked("sk-aaaaaaaa " * 82 + "correct/horse", ["correct/horse"])


@pytest.mark.parametrize(
    "piece",
    [
        "-",
        "a-",
        "a",
        ".",
        "*a",
        "a.",
        "1a",
        "key=",
        "key: 1",
        "Basic ",
        "basic a",
        "bearer a ",
        "sk-a ",
        "_1",
        "\u202e",
    ],
)
def test_a_message_takes_no_longer_than_its_length_whatever_it_holds(piece: str) -> None:
    for _ in range(20):
        blanked(piece * (1_000_000 // len(piece)), ["key" * 100])
