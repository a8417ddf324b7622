"""How long memory keeps a conversation, by what its request asks for, and what names it at providers' replicas."""

from typing import Any

import pytest
from tests.extproc.conftest import Make

from limpet_extproc.contract.catalog import CacheFields
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.request.cache_keys import affinity
from limpet_extproc.request.opened import Opened
from limpet_extproc.request.routing import Routing, decide

FIVE, HOUR = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}
MARKS = CacheFields(cache_control={"OpenAIChat": "Blocks"})
FIELDS = CacheFields(retention=True)
BOTH = CacheFields(cache_control={"OpenAIChat": "Blocks"}, retention=True)


def routed(make: Make, body: bytes, *providers: Any, **policy: Any) -> Routing:
    opened = make.opened(make.snapshot(*providers, **policy), body)
    assert isinstance(opened, Opened)
    routing = decide(opened, None, ProviderStates(), 1000.0, b"seed")
    assert isinstance(routing, Routing)
    return routing


def marked(*marks: Any) -> dict[str, Any]:
    blocks = [{"type": "text", "text": "x", "cache_control": mark} for mark in marks]
    return {"messages": [{"role": "user", "content": blocks}]}


@pytest.mark.parametrize(
    ("reads", "fields", "ttl_s"),
    [
        (MARKS, {}, 600.0),
        (MARKS, {"cache_control": HOUR}, 3600.0),
        (MARKS, {"cache_control": None}, 600.0),
        (MARKS, marked(HOUR), 3600.0),
        (MARKS, marked(HOUR, FIVE), 300.0),
        (MARKS, {"prompt_cache_retention": "24h"}, 600.0),
        (FIELDS, {"prompt_cache_retention": "24h"}, 86400.0),
        (FIELDS, {"prompt_cache_options": {"ttl": "30m"}}, 1800.0),
        (FIELDS, {"prompt_cache_options": {"ttl": "soon"}}, 600.0),
        (FIELDS, {"cache_control": HOUR}, 600.0),
        (MARKS, {"cache_control": HOUR, "prompt_cache_retention": "in_memory"}, 3600.0),
        (FIELDS, {"cache_control": FIVE, "prompt_cache_retention": "24h"}, 86400.0),
        (BOTH, {"cache_control": HOUR, "prompt_cache_retention": "24h"}, 3600.0),
        (BOTH, {"cache_control": HOUR, "prompt_cache_retention": "in_memory"}, 300.0),
        (BOTH, {"cache_control": None, "prompt_cache_retention": "24h"}, 86400.0),
        (CacheFields(), {"cache_control": HOUR, "prompt_cache_retention": "24h"}, 600.0),
    ],
    ids=str,
)
def test_a_request_asks_for_its_lifetime_where_that_is_read(
    make: Make, reads: CacheFields, fields: dict[str, Any], ttl_s: float
) -> None:
    provider = make.provider("a", cache_fields=reads, cache_ttl_s=600.0)
    assert routed(make, make.body(**fields), provider).record.ttls_s == (ttl_s,)
    assert routed(make, make.body(**fields), provider, memory_ttl_s=7.0).record.ttls_s == (7.0,)


def test_each_of_the_order_has_its_own(make: Make) -> None:
    providers = (make.provider("a", cache_fields=MARKS), make.provider("b", cache_fields=FIELDS, cache_ttl_s=60.0))
    record = routed(make, make.body(cache_control=HOUR), *providers).record
    assert dict(zip(record.order, record.ttls_s, strict=True)) == {"a": 3600.0, "b": 60.0}


def test_nothing_is_remembered_where_nothing_is_marked(make: Make) -> None:
    only_marked = CacheFields(cache_control={"OpenAIChat": "Blocks"}, only_marked=True)
    providers = (make.provider("a", cache_fields=only_marked), make.provider("b", cache_ttl_s=60.0))
    record = routed(make, make.body(), *providers).record
    assert dict(zip(record.order, record.ttls_s, strict=True)) == {"a": 0.0, "b": 60.0}


@pytest.mark.parametrize("takes", [(True, True), (False, True), (False, False)])
def test_a_conversation_is_named_if_any_of_its_providers_takes_a_name(make: Make, takes: tuple[bool, ...]) -> None:
    providers = [
        make.provider(name, affinity_header="x-a" if each else "") for name, each in zip("ab", takes, strict=True)
    ]
    routing = routed(make, make.body(), *providers)
    key = routing.record.key
    assert dict(routing.affinities) == {
        name: affinity(key, name) for name, each in zip("ab", takes, strict=True) if each
    }
