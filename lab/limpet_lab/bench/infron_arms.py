"""The arms of the Infron test on simulated sellers: different rules behind the same Envoy, billed by ledgers."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

import msgspec
from openai import AsyncOpenAI

from limpet_lab.bed import Bed
from limpet_lab.bench.infron_prompt import messages_for
from limpet_lab.bench.infron_rounds import Asking, play
from limpet_lab.bench.infron_score import Bill, Round, Score, score
from limpet_lab.demo.quickstart import MODEL, quickstart_sellers
from limpet_lab.peers.rule_sets import RuleSetName
from limpet_lab.sim.config import SellerConfig
from limpet_lab.sim.ledger import Row
from limpet_operator.laptop.local import LocalSettings

GROUPS: Final = 3

OUTPUT_TOKENS: Final = 455
"""Length of every answer. The article gives none; at DeepSeek's prices of September 2026 (0.003, 0.15 and 0.60 dollars
per million cached, uncached and output tokens) its bill for 120 cached rounds means 455 output tokens a call."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One column of the table."""

    name: str
    rules: RuleSetName | None
    """None: our own."""
    named_sessions: bool = False


ARMS: Final = (
    Arm("limpet", None),
    Arm("no_memory", "no_memory"),
    Arm("openrouter", "openrouter"),
    Arm("openrouter_session_id", "openrouter", named_sessions=True),
)


def sellers() -> tuple[SellerConfig, ...]:
    """The quickstart's three, at their near-equal prices, with answers of one length."""
    length = (OUTPUT_TOKENS, OUTPUT_TOKENS)
    return tuple(msgspec.structs.replace(each, output_tokens=length) for each in quickstart_sellers())


async def run_arm(arm: Arm, rounds: int, progress: Callable[[str, int], None]) -> Score:
    """Play all rounds of an arm on fresh sellers and a fresh gateway; `progress` is called after every group."""
    settings = LocalSettings()
    if arm.rules is not None:
        settings = LocalSettings(extproc_command=(sys.executable, "-m", "limpet_lab.peers", f"--rules={arm.rules}"))
    played: list[Round] = []
    bills: dict[str, Bill] = {}
    async with (
        Bed.start(sellers(), model=MODEL, settings=settings) as bed,
        AsyncOpenAI(base_url=bed.base_url, api_key="bench", max_retries=0) as client,
    ):
        asking = Asking(MODEL, named_sessions=arm.named_sessions)
        for group, size in enumerate(group_sizes(rounds)):
            conversations = [f"{arm.name}/{group}/{number}" for number in range(size)]
            played += await play(client, asking, conversations, messages_for)
            bills |= await _book(bed)
            progress(arm.name, len(played))
    return score(played, bills)


def group_sizes(rounds: int) -> list[int]:
    """The rounds in three groups, as equal as they can be."""
    return [rounds // GROUPS + (group < rounds % GROUPS) for group in range(GROUPS)]


async def _book(bed: Bed) -> dict[str, Bill]:
    """Take what has been billed since the last time out of the ledgers; the caches stay warm."""
    bills: dict[str, Bill] = {}
    for seller in bed.sellers:
        report = await seller.ledger()
        for row in report.rows:
            if (bill := _bill(row, seller.config)) is not None:
                bills[row.id] = bill
        await seller.reset(ledger=True, cache=False, requests=False, fault=False)
    return bills


def _bill(row: Row, config: SellerConfig) -> Bill | None:
    prices = config.prices_of(row.model)
    if prices is None or row.usd is None:
        return None
    return Bill(float(row.usd), float(row.usd - Decimal(row.output) * prices.output / 1_000_000))
