"""Entries of a Secret with client keys: what they may say, and what is said of those that are wrong."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_operator.resources.client_keys import EntryError, client_key, is_for_clients

KEY, NEW = "lpk-0123456789abcdef", "another-0123456789"
HEX, NEW_HEX = sha256(KEY.encode()).hexdigest(), sha256(NEW.encode()).hexdigest()


@pytest.mark.parametrize(
    ("value", "digests"),
    [
        (KEY, [HEX]),
        (f"  {KEY}\n", [HEX]),
        (f"{KEY}\n{NEW}\n", [HEX, NEW_HEX]),
        (f"{KEY} {KEY}", [HEX]),
        (f"sha256:{HEX}", [HEX]),
        (f"sha256:{HEX.upper()}", [HEX]),
        (f"SHA256:{HEX}", [HEX]),
        (f"lpk-{HEX}", [sha256(f"lpk-{HEX}".encode()).hexdigest()]),
        (f"{KEY} sha256:{NEW_HEX}", [HEX, NEW_HEX]),
        (f"key: {KEY}", [HEX]),
        (f"key: [{KEY}, {NEW}]", [HEX, NEW_HEX]),
        (f"sha256: {HEX}", [HEX]),
        (f'{{"sha256": "sha256:{HEX}"}}', [HEX]),
        (f"key: {NEW}\nsha256: {HEX}\n", [NEW_HEX, HEX]),
    ],
)
def test_keys_are_kept_as_digests(value: str, digests: list[str]) -> None:
    assert client_key("laptop", value.encode()).digests == tuple(digests)


def test_a_mapping_says_what_a_client_may_use() -> None:
    text = f"""
        key: {KEY}
        models: [deepseek/*, flash]
        requestsPerMinute: 60
        tokensPerMinute: 100000
        usdPerDay: 2.5
        labels: {{team: search}}
    """
    key = client_key("laptop", text.encode())
    assert (key.models, key.requests_per_minute, key.tokens_per_minute) == (("deepseek/*", "flash"), 60, 100_000)
    assert (key.usd_per_day, key.labels) == (2.5, {"team": "search"})


def test_numbers_of_json_are_numbers() -> None:
    assert client_key("laptop", f'{{"key": "{KEY}", "usdPerDay": 1e-9}}'.encode()).usd_per_day == 1e-9


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("laptop", b"short", "5 characters"),
        ("laptop", HEX.encode(), "looks like a digest"),
        ("laptop", f"sha-256:{HEX}".encode(), "looks like a digest"),
        ("laptop", f"SHA-256:{HEX.upper()}".encode(), "looks like a digest"),
        ("laptop", f"sha256={HEX}".encode(), "looks like a digest"),
        ("laptop", f"digest:{HEX}".encode(), "looks like a digest"),
        ("laptop", f"sha512:{HEX}{HEX}".encode(), "looks like a digest"),
        ("laptop", f"key: sha256:{HEX}".encode(), "looks like a digest"),
        ("laptop", b"key: 12345678901234567890", "in quotes"),
        ("laptop", b"", "has no key"),
        ("laptop", b"models: [a]", "has no key"),
        ("laptop", b"k" * 600, "more than 512"),
        ("laptop", b"\xff\xfe" * 20, "UTF-8"),
        ("laptop", "schlüssel-mit-umlaut-äöü".encode(), "ASCII"),
        ("laptop", b"sha256:abc", "64 hexadecimal"),
        ("laptop", b"{key: [}", "not a mapping"),
        ("laptop", f"key: {KEY}\nlimit: 3".encode(), "`limit`; an entry takes key, sha256, models, "),
        ("laptop", f"{{{KEY}: 1}}".encode(), "unknown field `[key]`"),
        ("laptop", f"key: {KEY}\nusdPerDay: 0".encode(), "above 0"),
        ("laptop", f"key: {KEY}\nrequestsPerMinute: -1".encode(), "above 0"),
        ("laptop", f"key: {KEY}\nrequestsPerMinute: many".encode(), "Expected `int"),
        ("laptop", " ".join(f"{KEY}-{n}" for n in range(9)).encode(), "more than 8"),
        ("false", KEY.encode(), "in quotes"),
        (".laptop", KEY.encode(), "63 letters"),
        ("a" * 64, KEY.encode(), "63 letters"),
        ("la\nptop", KEY.encode(), "63 letters"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said_without_its_key(name: str, value: bytes, words: str) -> None:
    with pytest.raises(EntryError) as wrong:
        client_key(name, value)
    assert words in str(wrong.value)
    assert KEY not in str(wrong.value)
    assert "umlaut" not in str(wrong.value)


@given(st.binary(max_size=200))
def test_no_entry_breaks_anything(value: bytes) -> None:
    try:
        key = client_key("laptop", value)
    except EntryError:
        return
    assert key.digests


@pytest.mark.parametrize(
    ("labels", "yes"),
    [
        ({}, False),
        ({"limpet.dev/client-keys": "true"}, True),
        ({"limpet.dev/client-keys": ""}, True),
        ({"limpet.dev/client-keys": "False"}, False),
        ({"other": "true"}, False),
    ],
)
def test_a_label_marks_the_secret(labels: dict[str, str], yes: bool) -> None:
    assert is_for_clients(labels) is yes
