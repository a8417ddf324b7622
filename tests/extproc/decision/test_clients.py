"""The tables of clients: whose key it is, and what a client may use."""

from dataclasses import replace

import pytest

from limpet_extproc.contract.client_keys import LONGEST_KEY, ClientKey, ClientKeys, digest_of
from limpet_extproc.decision.clients import STRANGERS, clients_of

OLD, NEW, OTHER = "lpk-old-0123456789", "lpk-new-0123456789", "lpk-other-0123456789"


def _key(name: str, *keys: str, models: tuple[str, ...] = (), limit: int | None = None) -> ClientKey:
    return ClientKey(name, tuple(digest_of(key).hex() for key in keys), models, requests_per_minute=limit)


KEYS = ClientKeys("Required", (_key("laptop", OLD, NEW, limit=5), _key("robot", OTHER)))


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (OLD, "laptop"),
        (NEW, "laptop"),
        (OTHER, "robot"),
        (OLD[:-1], None),
        (OLD + "x", None),
        ("", None),
        ("k" * (LONGEST_KEY + 1), None),
        ("schlüssel-mit-umlaut", None),
    ],
)
def test_a_key_is_its_clients_alone(key: str, name: str | None) -> None:
    found = clients_of(KEYS).of_key(key)
    assert (found.name if found else None) == name


def test_a_key_that_came_before_is_known_until_the_keys_change() -> None:
    table = clients_of(KEYS)
    first = table.of_key(OLD)
    assert table.of_key(OLD) is first
    for number in range(1_000):
        assert table.of_key(f"lpk-unknown-0123456789-{number}") is None
    assert table.seen.keys() == {OLD}, "what a stranger sends is not kept"
    assert OLD not in repr(table)
    revoked = clients_of(ClientKeys("Required", (_key("laptop", NEW), _key("robot", OTHER))), table)
    assert revoked.of_key(OLD) is None


def test_keys_whose_digests_begin_alike_are_told_apart() -> None:
    table = clients_of(KEYS)
    (first, entries), *_ = table.by_digest.items()
    other = next(iter(table.by_name.values()))
    crowded = {first: ((bytes(32), other), *entries)}
    assert replace(table, by_digest=crowded).of_key(OLD) == entries[0][1]


def test_two_keys_of_a_client_are_one_tenant_and_no_header_can_name_it() -> None:
    table = clients_of(KEYS)
    first, second = table.of_key(OLD), table.of_key(NEW)
    assert first is not None
    assert first is second
    assert b"\n" in first.tenant


def test_equal_keys_keep_their_tables_and_only_limited_clients_are_counted() -> None:
    table = clients_of(KEYS)
    assert clients_of(ClientKeys("Required", KEYS.keys), table) is table
    assert table.limited.keys() == {"@laptop"}
    assert clients_of(ClientKeys()) is STRANGERS


@pytest.mark.parametrize(
    ("patterns", "model", "may"),
    [
        ((), "any", True),
        (("a/b",), "a/b", True),
        (("a/b",), "a/bc", False),
        (("a/*",), "a/b", True),
        (("a/*",), "b/a", False),
        (("a[1]",), "a[1]", True),
        (("a/*",), "", False),
    ],
)
def test_models_are_patterns(patterns: tuple[str, ...], model: str, may: bool) -> None:
    client = clients_of(ClientKeys("Required", (_key("x", OLD, models=patterns),))).by_name["x"]
    assert client.may_use(model) is may
