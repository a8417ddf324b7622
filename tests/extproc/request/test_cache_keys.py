"""Names of a conversation for the caches of providers, and how many of them it gets."""

import json

import pytest
from tests.extproc.conftest import CHEAP, Make
from tests.extproc.splicing import spliced

from limpet_extproc.contract.catalog import CacheFields, CatalogProvider, Model
from limpet_extproc.request.cache_keys import KeyRates, affinity, cache_key, put_key, settings_with_keys
from limpet_extproc.request.splices import BodyDraft

ONE, OTHER = b"1" * 16, b"2" * 16


def test_the_names_of_a_conversation_are_its_own_and_tell_nothing() -> None:
    def names() -> list[str]:
        return [name for key in (ONE, OTHER) for to in "ab" for name in (affinity(key, to), cache_key(key, to, 0, 15))]

    assert len({*names()}) == 8
    assert all(len(name) == 32 and ONE.hex() not in name for name in names())
    assert names() == names()


@pytest.mark.parametrize(("most", "keys"), [(0, 1), (15, 3), (45, 1)])
def test_requests_above_the_rate_share_further_keys(most: int, keys: int) -> None:
    sent = [cache_key(ONE, "a", before, most) for before in range(45)]
    assert len({*sent}) == keys
    assert not most or all(sent.count(key) <= most for key in sent)


@pytest.mark.parametrize(
    ("before", "alike"),
    [((0, 14), True), ((15, 29), True), ((14, 15), False), ((29, 30), False), ((15, 0), False), ((0, 300), False)],
)
def test_a_request_with_another_key_asks_for_something_else(make: Make, before: tuple[int, int], alike: bool) -> None:
    model = Model("flash", "flash", 0, CHEAP, cache_key=True)
    keyed = CatalogProvider("a", (model,), cache_fields=CacheFields(cache_key_rpm=15))
    found = [settings_with_keys(b"\0\1", make.lane(keyed, make.provider("b")).candidates, each) for each in before]
    assert (found[0] == found[1]) == alike
    assert {len(each) for each in found} == {2}
    assert settings_with_keys(b"", make.lane(keyed).candidates, 30) == b""
    assert settings_with_keys(b"\0\1", make.lane(make.provider("b")).candidates, 30) == b"\0\1"


def test_a_conversations_rate_is_counted_by_the_minute() -> None:
    rates = KeyRates()
    assert [rates.count(ONE, 60.0 + second) for second in range(3)] == [0, 1, 2]
    assert rates.count(OTHER, 63.0) == 0
    assert rates.count(ONE, 119.9) == 3
    assert rates.count(ONE, 120.0) == 0


def test_very_many_conversations_are_not_all_counted() -> None:
    rates = KeyRates()
    for number in range(rates.MOST + 10):
        rates.count(number.to_bytes(16, "little"), 0.0)
    assert [rates.count(ONE, 1.0), rates.count(ONE, 1.0)] == [0, 0]
    assert rates.count((0).to_bytes(16, "little"), 1.0) == 1


@pytest.mark.parametrize(
    ("body", "result"),
    [
        (b'{"model":"m"}', '{"prompt_cache_key":"k","model":"m"}'),
        (b' \n{ "model":"m"}', ' \n{"prompt_cache_key":"k", "model":"m"}'),
        (b" " * 200 + b'{"model":"m"}', " " * 200 + '{"prompt_cache_key":"k","model":"m"}'),
        (b'{"prompt_cache_key" : null ,"model":"m"}', '{"prompt_cache_key" : "k" ,"model":"m"}'),
        (rb'{"prompt_c\u0061che_key":null,"model":"m"}', r'{"prompt_c\u0061che_key":"k","model":"m"}'),
        (b'{"a":{"prompt_cache_key":null}}', '{"prompt_cache_key":"k","a":{"prompt_cache_key":null}}'),
        (rb'{"a":"\ud83e","prompt_cache_key":null}', r'{"a":"\ud83e","prompt_cache_key":"k"}'),
        (b'{"prompt_cache_key":"","model":"m"}', '{"prompt_cache_key":"","model":"m"}'),
        (b'{"prompt_cache_key":7,"model":"m"}', '{"prompt_cache_key":7,"model":"m"}'),
    ],
)
def test_a_key_is_added_where_there_is_none(body: bytes, result: str) -> None:
    for given in (body, memoryview(body)):
        draft = BodyDraft()
        put_key(draft, given, "k")
        assert spliced(body, draft.done(given)).decode() == result
    json.loads(result)
