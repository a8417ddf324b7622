"""Records as a busy installation makes them: the usual few providers, many clients, and some that hardly occur."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from random import Random
from typing import Final

from msgspec.structs import replace

from limpet_extproc.contract.activity import (
    MOST_RECORDS,
    VERSION,
    ActivityBatch,
    ActivityRecord,
    ConsideredProvider,
    TriedProvider,
)

DAY_S: Final = 86_400
PROVIDERS: Final = ("deepseek", "vertex-eu", "openrouter", "fireworks")
RARE_PROVIDER: Final = "hardly-used"
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
_GATEWAYS: Final = tuple(f"gateway-{number}" for number in range(3))
_RARE: Final = 5_000
"""One of so many is of the rare model."""
_SPREAD: Final = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""Odd: so that keys look like hashes."""
_FAILOVERS: Final = 0.01
_BUSY_PER_S: Final = 5_000.0


def day_of_records(count: int, begin_s: float, seed: int = 1) -> Iterator[ActivityRecord]:
    """So many in one day, the oldest first, evenly spread."""
    random = Random(seed)  # noqa: S311 (not for secrets)
    return (_record(random, number, begin_s + DAY_S * (number + 0.5) / count) for number in range(count))


def busy_records(count: int, until_s: float, seed: int = 2) -> Iterator[ActivityRecord]:
    """So many, the oldest first, up to this moment, as dense as 5,000 requests a second make them."""
    random = Random(seed)  # noqa: S311 (not for secrets)
    first = 1 << 40  # Their ids are none of the others'.
    return (_record(random, first + number, until_s - (count - number) / _BUSY_PER_S) for number in range(count))


def few_records(times_s: Iterable[float]) -> Iterator[ActivityRecord]:
    """Failed requests to a provider that hardly any go to, one at each of these times."""
    random = Random(3)  # noqa: S311 (not for secrets)
    for number, time_s in enumerate(times_s):
        record = _record(random, (1 << 41) + number, time_s)
        yield replace(
            record,
            provider=RARE_PROVIDER,
            status=503,
            attempts=[TriedProvider(RARE_PROVIDER, "failed", 503, "Overloaded", 0.0, 0.01)],
        )


def batches(records: Iterable[ActivityRecord], gateway: int = 0) -> Iterator[ActivityBatch]:
    """Full ones, of a few gateways by turns."""
    source = iter(records)
    while some := list(islice(source, MOST_RECORDS)):
        yield _batch(some, _GATEWAYS[gateway % len(_GATEWAYS)])
        gateway += 1


def _batch(records: Sequence[ActivityRecord], gateway: str) -> ActivityBatch:
    of_it = [replace(record, gateway=gateway) for record in records]
    return ActivityBatch(VERSION, gateway, 0, 0, of_it[0].time_s, of_it, (), of_it[-1].time_s)


def _conversation(number: int) -> str:
    """Neighbours in time are of different ones, and each has a dozen turns."""
    return f"{(number // 1200 * 100 + number % 100 + 1) * _SPREAD % 2**128:032x}"


def _record(random: Random, number: int, time_s: float) -> ActivityRecord:
    reason = random.choices(_REASONS, _REASON_SHARES)[0]
    provider, failed_over = random.choice(PROVIDERS), random.random() < _FAILOVERS
    prompt = random.randrange(800, 60_000)
    cached = int(prompt * random.random()) if reason == "sticky.hit" else 0
    paid = (prompt - 0.9 * cached) * 3e-7
    attempts = [TriedProvider(provider, "ok", 200, "", 0.01, 2.0)]
    if failed_over:
        attempts.insert(0, TriedProvider(random.choice(PROVIDERS), "failed", 503, "Overloaded", 0.0, 0.01))
    return ActivityRecord(
        id=f"{number:032x}",
        time_s=time_s,
        gateway="",
        reason=reason,
        status=500 if random.random() < 0.002 else 200,
        duration_s=2.0,
        conversation=_conversation(number),
        tenant=f"{number % 25:032x}",
        client=random.choices(CLIENTS, range(25, 0, -1))[0],
        policy="default",
        model=RARE_MODEL if number % _RARE == 0 else random.choice(MODELS),
        api="openai.chat_completions",
        identified_by="opening",
        provider=provider,
        attempts=attempts,
        considered=[ConsideredProvider(each, "", 1000, 0.004) for each in PROVIDERS],
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
