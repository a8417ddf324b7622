"""What clients invent and providers miscount: pages of metrics that stay short, and sums that stay true."""

import asyncio
import json
from collections.abc import AsyncIterator
from math import isfinite
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families
from tests.envoy.cast import LONG, say
from tests.envoy.test_activity import Scene, scene

from limpet_extproc.envoy.spending import MOST_TENANTS
from limpet_extproc.envoy.usage import MAX_TOKENS
from limpet_lab.sim.faults import Fault
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.keeper import ask
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_MANY = 2_000
_AT_ONCE = 100
_MADE_UP = "made-up-4f1d0c"
_BY_TENANT = "limpet_tenant_bill_usd_total{"
"""The one metric with a label that comes from requests."""


@pytest_asyncio.fixture(loop_scope="session")
async def told(number: int, sellers: Sellers, parser: Parser) -> AsyncIterator[Scene]:
    async with scene(number, sellers, parser) as ready:
        yield ready


async def series(told: Scene) -> dict[str, frozenset[str]]:
    """The metrics of worker and Envoy by name and labels, without values."""
    pages = {
        "worker": await told.stage.metrics_text(),
        "Envoy": (await ask(told.stage.gateway.admin_socket, "/stats/prometheus") or b"").decode(),
    }
    return {
        name: frozenset(line.rpartition(" ")[0] for line in page.splitlines() if line and line[0] != "#")
        for name, page in pages.items()
    }


async def one_of_many(told: Scene, number: int) -> int:
    """A request whose every name is its own; half of them are for a model that is served."""
    stage, own = told.stage, f"{_MADE_UP}-{number}"
    known = number % 2 == 0
    body: dict[str, Any] = {
        "model": stage.model if known else own,
        "messages": [say(own)],
        "user": own,
        "session_id": own,
        "service_tier": own,
        "metadata": {"user_id": own},
    }
    names = ("x-session-id", "x-claude-code-session-id", "x-request-id", "user-agent", "x-limpet-decision")
    headers = {"authorization": f"Bearer {own}", "content-type": "application/json", **dict.fromkeys(names, own)}
    path = "/chat/completions" if number % 5 else f"/{own}"
    async with stage.http.post(stage.base_url + path, data=json.dumps(body), headers=headers) as answer:
        await answer.read()
        return answer.status


async def test_names_that_clients_invent_make_no_metric(told: Scene) -> None:
    stage = await told.stage.serve("e")
    for number in range(10):  # what may be counted is
        await one_of_many(told, number)
    await stage.ask([say(LONG)])
    await stage.settle()
    before = await series(told)
    statuses = [
        status
        for first in range(10, _MANY, _AT_ONCE)
        for status in await asyncio.gather(*(one_of_many(told, first + number) for number in range(_AT_ONCE)))
    ]
    assert {status for status in statuses if status not in (200, 404)} == set()
    assert statuses.count(200) > _MANY / 3
    await told.records(_MANY // 3)
    after = await series(told)
    for page, found in after.items():
        assert not [line for line in found if _MADE_UP in line]
        added = {line for line in found - before[page] if not line.startswith(_BY_TENANT)}
        # What is counted for the first time has a line from then on; two thousand requests bring no more of them.
        assert len(added) < 50, sorted(added)
    tenants = {line for line in after["worker"] if line.startswith(_BY_TENANT) and 'rule="paid"' in line}
    assert len(tenants) == MOST_TENANTS + 1, "the others are one"


ABSURD = {
    "negative": '{"prompt_tokens": -5, "completion_tokens": -7, "prompt_tokens_details": {"cached_tokens": -1}}',
    "endless": '{"prompt_tokens": 1e308, "completion_tokens": 1e308}',
    "beyond a double": '{"prompt_tokens": 1e999, "completion_tokens": 1e999}',
    "no numbers": '{"prompt_tokens": NaN, "completion_tokens": Infinity}',
    "words": '{"prompt_tokens": "many", "completion_tokens": [], "prompt_tokens_details": "x"}',
    "more read than there is": (
        '{"prompt_tokens": 9, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 99999999999}}'
    ),
    "very deep": f'{{"prompt_tokens": {"[" * 2000}{"]" * 2000}}}',
}


@pytest.mark.parametrize("usage", ABSURD.values(), ids=ABSURD.keys())
async def test_absurd_counts_of_a_provider_reach_no_sum(told: Scene, usage: str) -> None:
    stage = await told.stage.serve("e")
    name, said = json.dumps(stage.model), '{"role": "assistant", "content": "Hi"}'
    message = f'{{"index": 0, "message": {said}, "finish_reason": "stop"}}'
    answer = f'{{"id": "c", "object": "chat.completion", "model": {name}, "choices": [{message}], "usage": {usage}}}'
    await stage.sellers["e"].set_fault(Fault(kind="status", status=200, body=answer))
    got = await stage.post({"model": stage.model, "messages": [say(LONG)]})
    assert (got.status, got.body) == (200, answer.encode())
    (record,) = await told.records(1)
    for tokens in (record.prompt_tokens, record.cached_tokens, record.output_tokens):
        assert tokens is None or 0 <= tokens <= MAX_TOKENS
    for usd in (record.paid_usd, record.uncached_usd, record.spread_usd, record.cheapest_usd):
        assert usd is None or (isfinite(usd) and 0 <= usd < 1000)
    if record.cached_tokens is not None:
        assert record.cached_tokens <= (record.prompt_tokens or 0)
    for family in text_string_to_metric_families(await stage.metrics_text()):
        assert all(isfinite(each.value) and each.value >= 0 for each in family.samples if "le" not in each.labels)
    await stage.sellers["e"].set_fault(Fault())
    assert (await stage.post({"model": stage.model, "messages": [say(LONG)]})).status == 200
