"""The ledger against the sellers' own bills: real Envoy, real workers, conversations as people hold them."""

import asyncio
import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession
from openai import AsyncOpenAI
from tests.extproc.memory.redis_server import RedisServer, servers
from tests.waiting import until
from typer.testing import CliRunner

from limpet_extproc.contract.ledger import ALL_HOURS, RowSums
from limpet_extproc.contract.state_folder import LEDGER_FILE
from limpet_extproc.memory.ledger_file import read_ledger_file
from limpet_lab.bed import Bed, objects_for
from limpet_lab.demo.quickstart import MODEL, quickstart_sellers
from limpet_lab.demo.script import conversations
from limpet_lab.demo.talk import Dialogue, next_turns
from limpet_lab.sim.config import SellerConfig
from limpet_operator.cli import application
from limpet_operator.laptop.local import LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.laptop.state import prepared_state

pytestmark = pytest.mark.envoy

TURNS = 4
_REPORT = EntryPoint("report", "limpet_extproc.process.report.command:report", "limpet.commands")
POLICY = {"showHeaders": ["Cost"]}


async def talk(bed: Bed, user: str) -> int:
    """Conversations of one user, every other one streamed; how many requests that were."""
    dialogues = [Dialogue(script) for script in conversations(TURNS)]
    async with AsyncOpenAI(base_url=bed.base_url, api_key=user, max_retries=0) as client:
        for _ in range(TURNS):
            await next_turns(client, dialogues, lambda turn: None)
    assert not [turn.error for dialogue in dialogues for turn in dialogue.turns if turn.error]
    return len(dialogues) * TURNS


def read(file: Path) -> dict[str, RowSums]:
    """What each provider was paid."""
    found: dict[str, RowSums] = {}
    for key, sums in read_ledger_file(file, *ALL_HOURS).items() if file.exists() else ():
        found[key.provider] = found.get(key.provider, RowSums()).plus(sums)
    return found


def shown(*flags: str) -> Any:
    """What `limpet report` prints for programs."""
    done = CliRunner().invoke(application(["report"], [_REPORT]), ["report", *flags, "--json"])
    return json.loads(done.output)


async def test_the_ledger_agrees_with_the_bills_and_outlives_the_gateway(tmp_path: Path) -> None:
    folder = prepared_state({"XDG_STATE_HOME": str(tmp_path)}, tmp_path)
    file, requests = folder / LEDGER_FILE, 0
    settings, billed = LocalSettings(state_folder=folder), dict[str, float]()
    for user in ("alice", "bob"):
        async with Bed.start(quickstart_sellers(), model=MODEL, settings=settings, policy=POLICY) as bed:
            requests += await talk(bed, user)
            for seller in bed.sellers:
                bill = (await seller.ledger()).totals
                billed[seller.name] = billed.get(seller.name, 0.0) + float(bill.usd or 0)
            await until(lambda: sum(sums.requests for sums in read(file).values()) == requests)  # noqa: B023
    found = read(file)
    assert {name: sums.paid_usd for name, sums in found.items()} == pytest.approx(
        {name: usd for name, usd in billed.items() if usd}, rel=0.01
    )
    assert sum(sums.unpriced + sums.unmetered + sums.cache_unreported for sums in found.values()) == 0
    paid, spread, uncached = (
        sum(getattr(sums, name) for sums in found.values()) for name in ("paid_usd", "spread_usd", "uncached_usd")
    )
    assert paid < spread < uncached
    figures = shown("--file", str(file), "--by", "tenant")
    assert figures["total"]["paid_usd"] == pytest.approx(paid)
    assert [row["requests"] for row in figures["rows"]] == [requests // 2] * 2
    tenants = {key.tenant for key in read_ledger_file(file, *ALL_HOURS)}
    assert len(tenants) == 2


async def test_a_response_tells_what_the_seller_bills_for_it() -> None:
    question = "Which of these is the longest word? " * 400
    async with (
        Bed.start(quickstart_sellers(), model=MODEL, policy=POLICY) as bed,
        AsyncOpenAI(base_url=bed.base_url, api_key="alice", max_retries=0) as client,
    ):
        for _ in range(2):
            raw = await client.chat.completions.with_raw_response.create(
                model=MODEL, messages=[{"role": "user", "content": question}], max_tokens=50
            )
            told = dict(part.split("=") for part in raw.headers["x-limpet-cost"].split(", "))
            rows = (await bed.sellers[raw.headers["x-limpet-provider"]].ledger()).rows
            assert float(told["paid"]) == pytest.approx(float(rows[-1].usd or 0), abs=1e-8)
        assert float(told["saved"]) > 0
        streamed = await client.chat.completions.with_raw_response.create(
            model=MODEL, messages=[{"role": "user", "content": question}], max_tokens=50, stream=True
        )
        assert streamed.headers["x-limpet-cost"].startswith("expected=0.0")


async def test_what_probes_cost_is_a_line_of_its_own(tmp_path: Path) -> None:
    folder = prepared_state({"XDG_STATE_HOME": str(tmp_path)}, tmp_path)
    file = folder / LEDGER_FILE
    probe = {
        "apiVersion": "limpet.dev/v1alpha1",
        "kind": "HealthProbe",
        "metadata": {"name": "completions"},
        "spec": {"interval": "1h", "providerSelector": {}, "completion": {"model": MODEL, "maxTokens": 1}},
    }
    settings = LocalSettings(state_folder=folder)
    async with Bed.start(quickstart_sellers(), model=MODEL, settings=settings) as bed:
        bed.apply([*(each for seller in bed.sellers for each in objects_for(seller, MODEL)), probe])
        await until(lambda: len(read(file)) == len(bed.sellers))
        bills = {seller.name: float((await seller.ledger()).totals.usd or 0) for seller in bed.sellers}
    assert {key.kind for key in read_ledger_file(file, *ALL_HOURS)} == {"probe"}
    assert {name: sums.paid_usd for name, sums in read(file).items()} == pytest.approx(bills, rel=0.01)


async def test_workers_that_share_a_redis_share_the_ledger(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    with servers(RedisServer(tmp_path / "redis")) as (redis,):
        flags = (f"--redis-url={redis.url}", f"--memory-key-file={key}")
        settings = LocalSettings(extproc_workers=2, extproc_flags=flags, extproc_metrics_port=free_port())

        async def reported() -> Any:
            return await asyncio.to_thread(shown, "--redis-url", redis.url)

        async def complete() -> bool:
            return bool((await reported())["total"]["requests"] == requests)

        async with Bed.start(quickstart_sellers(), model=MODEL, settings=settings) as bed:
            requests = await talk(bed, "alice")
            await until(complete)
            bills = {seller.name: float((await seller.ledger()).totals.usd or 0) for seller in bed.sellers}
        figures = await reported()
    assert {row["provider"]: row["paid_usd"] for row in figures["rows"]} == pytest.approx(
        {name: usd for name, usd in bills.items() if usd}, rel=0.01
    )
    assert figures["total"]["paid_usd"] < figures["total"]["spread_usd"] < figures["total"]["uncached_usd"]


async def test_writes_for_an_hour_have_their_own_price_in_both_books(tmp_path: Path) -> None:
    folder = prepared_state({"XDG_STATE_HOME": str(tmp_path)}, tmp_path)
    file = folder / LEDGER_FILE
    prices = {"input": "3", "output": "15", "cacheRead": "0.3", "cacheWrite": "3.75", "cacheWrite1h": "6"}
    known = {"name": "claude", "vendor": "Anthropic", "apiKeys": ["key"], "models": [{"name": MODEL}]}
    seller = msgspec.convert({**known, "prices": prices}, SellerConfig)
    marked = {
        "type": "text",
        "text": "Read this with care. " * 900,
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
    }
    settings = LocalSettings(state_folder=folder)
    async with Bed.start([seller], model=MODEL, settings=settings) as bed, ClientSession() as client:
        for turn in range(1, 4):
            asked = {"role": "user", "content": [marked, {"type": "text", "text": f"And {'then ' * 50 * turn}?"}]}
            body = {"model": MODEL, "max_tokens": 40, "messages": [asked], "stream": turn == 2}
            async with client.post(f"{bed.base_url}/messages", json=body, headers={"x-api-key": "alice"}) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()
            await until(lambda: read(file).get("claude", RowSums()).requests == turn)  # noqa: B023
        bill = (await bed.sellers["claude"].ledger()).totals
    found = read(file)["claude"]
    assert found.cached_tokens > 0
    assert found.paid_usd == pytest.approx(float(bill.usd or 0), rel=0.01)
    assert found.spread_usd == pytest.approx(found.paid_usd)  # there is nowhere else
