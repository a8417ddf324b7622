"""All edits of one request together, against an oracle of JSON values: nothing else changes, whatever the request."""

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.request.edits_oracle import expected
from tests.extproc.request.odd_requests import Fields, body, chat, messages, responses
from tests.extproc.splicing import spliced

from limpet_extproc.contract.apis import Api, DialectName
from limpet_extproc.contract.catalog import CacheControl, CacheFields, Catalog, CatalogProvider, Model, Policy
from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.breakpoints import adds_breakpoint
from limpet_extproc.decision.snapshot import snapshot
from limpet_extproc.dialects.registry import BY_NAME
from limpet_extproc.request.cache_keys import cache_key
from limpet_extproc.request.edits import edits
from limpet_extproc.request.opened import Opened, open_request
from limpet_extproc.request.parsing import RequestHead, read

MANY = 5000
KINDS: dict[DialectName, Callable[[Random], Fields]] = {
    "OpenAIChat": chat,
    "AnthropicMessages": messages,
    "OpenAIResponses": responses,
}
each_dialect = pytest.mark.parametrize("dialect", KINDS)
PRICE = Price(input=1.0, output=5.0, cache_read=0.1, cache_write=1.25)


def provider(random: Random, name: str, dialect: DialectName) -> CatalogProvider:
    reads: list[CacheControl] = ["None"] if dialect == "OpenAIResponses" else ["None", "Blocks", "TopLevel"]
    model = Model("flash", random.choice(["flash", name, 'B "x" \u00e9']), 0, PRICE, random.random() < 0.5)
    return CatalogProvider(
        name,
        (model,),
        dialects=(dialect,),
        cache_fields=CacheFields(cache_control={dialect: random.choice(reads)}, retention=random.random() < 0.5),
        prompt_caching=random.choice(["Off", "Auto"]),
        stream_usage=random.random() < 0.7,
    )


def opened(random: Random, dialect: DialectName, sent: bytes) -> Opened:
    providers = tuple(provider(random, name, dialect) for name in "abc")
    head = RequestHead(BY_NAME[dialect], {}, Api(dialect, "conversation"))
    request = read(head, sent)
    found = open_request(head, request, sent, snapshot(Catalog("r", providers, (Policy(),))), b"secret")  # type: ignore[arg-type]
    assert isinstance(found, Opened), request
    return found


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), "a key twice"
    return dict(pairs)


def check(random: Random, dialect: DialectName) -> None:
    fields = KINDS[dialect](random)
    sent = body(random, fields)
    found = opened(random, dialect, sent)
    made = edits(found, ("a", "b", "c"))
    for name, candidate in found.query.lane.by_provider.items():
        renamed = None if candidate.upstream_model == "flash" else candidate.upstream_model
        got = spliced(sent, made.of(name) if made else (), renamed)
        key = cache_key(found.query.key, name, 0, 0)
        adds = adds_breakpoint(candidate, found.query)
        assert json.loads(got, object_pairs_hook=once) == expected(fields, candidate, key, adds=adds), (sent, got)


@each_dialect
@given(st.randoms(use_true_random=False))
def test_every_provider_gets_what_is_meant(dialect: DialectName, random: Random) -> None:
    check(random, dialect)


@pytest.mark.slow
@each_dialect
def test_every_provider_gets_what_is_meant_of_thousands_of_requests(dialect: DialectName) -> None:
    for seed in range(MANY):
        try:
            check(Random(seed), dialect)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
