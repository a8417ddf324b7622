"""Records as a busy installation makes them: spread over a month, with the usual few providers and many clients."""

from collections.abc import Iterator
from random import Random
from typing import Final

from limpet_extproc.contract.activity import (
    MOST_RECORDS,
    VERSION,
    ActivityBatch,
    ActivityRecord,
    ConsideredProvider,
    TriedProvider,
)

BUSY_PART: Final = 0.1
BUSY_PER_S: Final = 5_000.0
MONTH_S: Final = 30 * 86_400.0
PROVIDERS: Final = ("deepseek", "vertex-eu", "openrouter", "fireworks")
MODELS: Final = tuple(f"vendor/model-{letter}" for letter in "abcdef")
CLIENTS: Final = tuple(f"team-{number:02}" for number in range(25))
RARE_MODEL: Final = "vendor/model-that-few-use"

_REASONS: Final = ("sticky.hit", "first.scored", "sticky.expired", "sticky.moved.cheaper", "unsticky.below_minimum")
_REASON_SHARES: Final = (75, 15, 4, 3, 3)
_CAUSES: Final = {
    "sticky.hit": ("hit", "partial", "prefix_changed(message 3)"),
    "first.scored": ("cold_start",),
    "sticky.expired": ("ttl_expired",),
    "sticky.moved.cheaper": ("provider_switched(sticky.moved.cheaper)",),
    "unsticky.below_minimum": ("below_minimum",),
}
_RARE: Final = 200_000
"""One of so many is of the rare model."""
_SPREAD: Final = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""Odd: so that keys look like hashes."""
_FAILOVERS: Final = 0.01


def batches(rows: int, until_s: float, seed: int = 1) -> Iterator[ActivityBatch]:
    """So many records in full batches of a few gateways, the oldest first.

    Nine tenths are spread over the month before this time, and the last tenth comes at `BUSY_PER_S`.
    """
    random = Random(seed)  # noqa: S311 (not for secrets)
    for first in range(0, rows, MOST_RECORDS):
        count = min(MOST_RECORDS, rows - first)
        gateway = f"gateway-{first // MOST_RECORDS % 3}"
        records = [
            _record(random, number, _time_s(number, rows, until_s), gateway) for number in range(first, first + count)
        ]
        yield ActivityBatch(VERSION, gateway, 0, 0, until_s - MONTH_S, records, (), records[-1].time_s)


def _time_s(number: int, rows: int, until_s: float) -> float:
    busy_rows = rows * BUSY_PART
    if number >= rows - busy_rows:
        return until_s - (rows - number) / BUSY_PER_S
    return until_s - MONTH_S + (MONTH_S - busy_rows / BUSY_PER_S) * number / (rows - busy_rows)


def conversation_of(number: int) -> str:
    """The conversation of the record with this number: neighbours in time are of different ones."""
    return f"{(number // 1200 * 100 + number % 100 + 1) * _SPREAD % 2**128:032x}"


def _record(random: Random, number: int, time_s: float, gateway: str) -> ActivityRecord:
    reason = random.choices(_REASONS, _REASON_SHARES)[0]
    provider, failed_over = random.choice(PROVIDERS), random.random() < _FAILOVERS
    prompt = random.randrange(800, 60_000)
    cached = int(prompt * random.random()) if reason == "sticky.hit" else 0
    paid = (prompt - 0.9 * cached) * 3e-7
    attempts = [TriedProvider(provider, "ok", 200, "", 0.01, 2.0)]
    if failed_over:
        attempts.insert(0, TriedProvider(random.choice(PROVIDERS), "failed", 503, "Overloaded", 0.0, 0.01))
    return ActivityRecord(
        id=f"{number:020x}{random.getrandbits(48):012x}",
        time_s=time_s,
        gateway=gateway,
        reason=reason,
        status=500 if random.random() < 0.002 else 200,
        duration_s=2.0,
        conversation=conversation_of(number),
        tenant=f"{number % 25:032x}",
        client=random.choices(CLIENTS, range(25, 0, -1))[0],
        policy="default",
        model=RARE_MODEL if number % _RARE == 0 else random.choice(MODELS),
        api="openai.chat_completions",
        identified_by="opening",
        provider=provider,
        attempts=attempts,
        considered=[ConsideredProvider(each, "", 1000, 0.004, time_s + 300) for each in PROVIDERS],
        streamed=True,
        first_byte_s=0.4,
        prompt_tokens=prompt,
        cached_tokens=cached,
        written_tokens=0,
        output_tokens=random.randrange(20, 900),
        expected_tokens=cached,
        cause=random.choice(_CAUSES[reason]),
        paid_usd=paid,
        uncached_usd=prompt * 3e-7,
        spread_usd=prompt * 2.5e-7,
        cheapest_usd=paid,
        path="/v1/chat/completions",
    )
