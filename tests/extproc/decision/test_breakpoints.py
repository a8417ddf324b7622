"""Whether anything of a prompt is marked for caching at a provider, and when Limpet marks it itself."""

from typing import Any

import pytest
from tests.extproc.conftest import Make

from limpet_extproc.contract.catalog import CacheFields
from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.breakpoints import adds_breakpoint
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.request_price import why_not_sticky
from limpet_extproc.decision.snapshot import Candidate

CLAUDE = Price(input=1.0, output=5.0, cache_read=0.1, cache_write=1.25)
ONE_HOUR = Price(input=1.0, output=5.0, cache_read=0.1, cache_write=2.0)
READS = CacheFields(cache_control={"OpenAIChat": "Blocks"}, only_marked=True)
READS_NOT = CacheFields(cache_control={"AnthropicMessages": "Blocks"}, only_marked=True)


def asked(
    make: Make, *, tokens: int = 2000, marked: bool = False, policy: str = "Off", **fields: Any
) -> tuple[Candidate, Query]:
    given: dict[str, Any] = {
        "price": CLAUDE,
        "min_tokens": 1024,
        "prompt_caching": "Auto",
        "cache_fields": READS,
    } | fields
    history, lasting = given.pop("has_history", True), given.pop("lasting_tokens", 0)
    lane = make.lane(make.provider("a", **given), prompt_caching=policy)
    return lane.candidates[0], Query(lane, b"", tokens, 400, marked=marked, has_history=history, lasting_tokens=lasting)


@pytest.mark.parametrize(
    ("given", "adds"),
    [
        ({}, True),
        ({"prompt_caching": "Off"}, False),
        ({"prompt_caching": "Off", "policy": "Auto"}, True),
        ({"marked": True}, False),
        ({"cache_fields": READS_NOT}, False),
        ({"tokens": 1024}, True),
        ({"tokens": 1023}, False),
        ({"price": None}, True),
        ({"price": None, "has_history": False}, False),
        ({"caches": False}, False),
        ({"price": ONE_HOUR}, False),
        ({"price": Price(1.0, 5.0, 0.9, 1.1)}, False),
        ({"has_history": False}, False),
        ({"has_history": False, "lasting_tokens": 1024}, True),
        ({"has_history": False, "lasting_tokens": 1023}, False),
        ({"has_history": False, "lasting_tokens": 1023, "min_tokens": 0}, False),
        ({"has_history": False, "lasting_tokens": 2047, "min_tokens": 2048, "tokens": 9000}, False),
    ],
    ids=str,
)
def test_one_is_added_where_it_pays_by_the_second_turn(make: Make, given: dict[str, Any], adds: bool) -> None:
    assert adds_breakpoint(*asked(make, **given)) is adds


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"prompt_caching": "Off"}, "unsticky.no_breakpoint"),
        ({"prompt_caching": "Off", "marked": True}, None),
        ({"prompt_caching": "Off", "cache_fields": CacheFields()}, None),
        ({"marked": True, "cache_fields": READS_NOT}, "unsticky.no_breakpoint"),
        ({}, None),
        ({"price": None}, None),
        ({"has_history": False}, "unsticky.no_breakpoint"),
        ({"tokens": 1000}, "unsticky.below_minimum"),
    ],
    ids=str,
)
def test_what_caches_only_what_is_marked_is_not_stayed_at_without(
    make: Make, given: dict[str, Any], reason: str | None
) -> None:
    candidate, query = asked(make, **given)
    assert why_not_sticky(candidate, query) == reason
