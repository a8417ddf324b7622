"""A day of traffic as it might have been: the same at every run, for pictures and for pages that have to be full."""

import math
from collections.abc import Iterator
from random import Random
from typing import Final

import msgspec

from limpet_extproc.contract.activity import (
    MOST_RECORDS,
    VERSION,
    ActivityBatch,
    ActivityRecord,
    ConsideredProvider,
    ProviderReport,
    ShownPrice,
    TriedProvider,
)

PRICES: Final = {
    "deepseek": (0.28, 0.028, 0.28, 0.42),
    "fireworks": (0.56, 0.28, 0.56, 1.68),
    "together": (0.6, 0.3, 0.6, 1.7),
    "novita": (0.27, 0.135, 0.27, 0.41),
}
"""Input, cache read, cache write and output, dollars per million tokens."""
MODELS: Final = ("deepseek-v3.2", "qwen3-coder", "kimi-k2")
CLIENTS: Final = ("checkout-bot", "ide-agents", "research", "support")
LIFETIME_S: Final = 900.0


def day(now_s: float, conversations: int = 260, seed: int = 7) -> list[ActivityRecord]:
    """The records of a day that ends now, the oldest first."""
    random = Random(seed)
    records: list[ActivityRecord] = []
    for number in range(conversations):
        records.extend(_conversation(random, number, now_s))
    return sorted((record for record in records if record.time_s <= now_s), key=lambda record: record.time_s)


def _begin(random: Random, now_s: float) -> float:
    """More of them in the afternoon."""
    while True:
        ago_h = random.uniform(0, 24)
        if random.random() < 0.35 + 0.65 * (0.5 + 0.5 * math.cos((ago_h - 5) / 24 * 2 * math.pi)):
            return now_s - ago_h * 3600


def _conversation(random: Random, number: int, now_s: float) -> Iterator[ActivityRecord]:
    at_s = _begin(random, now_s)
    model = random.choices(MODELS, (6, 3, 1))[0]
    client = random.choices(CLIENTS, (4, 5, 2, 2))[0]
    served, prompt, last_prompt, last_s = random.choice(list(PRICES)), random.randint(1800, 9000), 0, 0.0
    for turn in range(random.randint(1, 34)):
        down = "fireworks" if abs((now_s - at_s) / 3600 - 7.4) < 0.35 else ""
        before, reason = served, "sticky.hit"
        attempts: tuple[TriedProvider, ...] = ()
        if turn == 0:
            reason = "first.warm_head" if random.random() < 0.3 else "first.scored"
        elif at_s - last_s > LIFETIME_S:
            reason, served = "sticky.expired", random.choice(list(PRICES))
        elif random.random() < 0.01:
            reason, served = "sticky.left.over_limit", random.choice([name for name in PRICES if name != served])
        if served == down:
            attempts = (TriedProvider(served, "failed", 503, "Overloaded", 0.004, 0.31),)
            reason, served = "sticky.left.down", random.choice([name for name in PRICES if name != served])
        warm = last_prompt if turn and served == before and at_s - last_s <= LIFETIME_S else 0
        yield _turn(random, number, turn, at_s, model, client, served, prompt, warm, reason, attempts)
        last_prompt, last_s = prompt, at_s
        prompt += random.randint(200, 2600)
        at_s += random.choices((random.uniform(4, 60), random.uniform(60, 600), 2000), (7, 3, 0.15))[0]


def _turn(
    random: Random,
    number: int,
    turn: int,
    at_s: float,
    model: str,
    client: str,
    served: str,
    prompt: int,
    warm: int,
    reason: str,
    attempts: tuple[TriedProvider, ...],
) -> ActivityRecord:
    changed = bool(warm) and random.random() < 0.04
    cached = (0 if changed else warm // 64 * 64) if warm else 1536 if reason == "first.warm_head" else 0
    output, first = random.randint(40, 900), random.uniform(0.25, 0.6) + (prompt - cached) / 40_000
    took = first + output / random.uniform(50, 110)
    failed = random.random() < 0.006
    if changed:
        cause = f"prefix_changed(message {random.randint(1, 9)})"
    elif warm or reason == "first.warm_head":
        cause = "hit"
    elif turn == 0:
        cause = "cold_start"
    else:
        cause = "ttl_expired" if reason == "sticky.expired" else f"provider_switched({reason})"
    considered = tuple(
        ConsideredProvider(
            name,
            warm_tokens=warm if name == served else 0,
            usd=_usd(name, prompt, warm if name == served else 0, output),
            warm_until_s=at_s + LIFETIME_S,
        )
        for name in sorted(PRICES, key=lambda name: name != served)
        if not any(tried.provider == name for tried in attempts)
    ) + tuple(ConsideredProvider(tried.provider, "down") for tried in attempts)
    spread = sum(_usd(name, prompt, warm // 4, output) for name in ("deepseek", "novita", "fireworks")) / 3
    return ActivityRecord(
        id=f"{number:08x}-{turn:04x}-4000-8000-{random.getrandbits(48):012x}",
        time_s=at_s,
        gateway=f"gateway-{number % 2}",
        reason=reason,
        status=502 if failed else 200,
        duration_s=took,
        conversation=f"{Random(number).getrandbits(128):032x}",
        tenant=f"{Random(client).getrandbits(64):016x}",
        client=client,
        policy="default",
        model=model,
        api="OpenAIChat",
        kind="conversation",
        identified_by="header x-session-id",
        provider="" if failed else served,
        attempts=(
            *attempts,
            TriedProvider(served, "failed", 502, "ServerError", 0.33 if attempts else 0.004, took)
            if failed
            else TriedProvider(served, "ok", 200, "", 0.33 if attempts else 0.004, took),
        ),
        considered=considered,
        streamed=True,
        first_byte_s=None if failed else first,
        prompt_tokens=None if failed else prompt,
        cached_tokens=None if failed else cached,
        written_tokens=None if failed else 0,
        output_tokens=None if failed else output,
        expected_tokens=warm,
        cause="" if failed else cause,
        paid_usd=None if failed else _usd(served, prompt, cached, output),
        uncached_usd=None if failed else _usd(served, prompt, 0, output),
        spread_usd=None if failed else spread,
        cheapest_usd=None if failed else _usd("novita", prompt, warm, output),
        path="/v1/chat/completions",
        error="ServerError" if failed else "",
    )


def _usd(provider: str, prompt: int, cached: int, output: int) -> float:
    plain, read, _, out = PRICES[provider]
    return (plain * (prompt - cached) + read * cached + out * output) / 1e6


def batches(records: list[ActivityRecord], now_s: float) -> list[ActivityBatch]:
    """As workers would hand them over, with what became of `fireworks` meanwhile."""
    outage_s = now_s - 7.75 * 3600
    told = [
        ActivityBatch(VERSION, "gateway-0", 0, 0, now_s - 90_000, (), _reports(at_s, now_s, verdict, cause), at_s)
        for at_s, verdict, cause in (
            (now_s - 86_000, "up", ""),
            (outage_s, "down", "Overloaded"),
            (outage_s + 2400, "degraded", "SlowFirstByte"),
            (outage_s + 4000, "up", ""),
            (now_s - 5, "up", ""),
        )
    ]
    return [
        *told,
        *(
            ActivityBatch(VERSION, "gateway-0", 0, 0, now_s - 90_000, records[first : first + MOST_RECORDS])
            for first in range(0, len(records), MOST_RECORDS)
        ),
    ]


def _reports(at_s: float, now_s: float, verdict: str, cause: str) -> list[ProviderReport]:
    reports = [
        ProviderReport(
            name,
            "up",
            since_s=now_s - 86_000,
            draining=name == "together",
            first_token_s=0.31 + 0.08 * index,
            tokens_per_s=92.0 - 11 * index,
            warm_conversations=41 - 7 * index,
            prices=[
                ShownPrice(
                    model,
                    input=prices[0],
                    output=prices[3],
                    cache_read=prices[1],
                    cache_write=prices[2],
                    window="night" if name == "deepseek" else "",
                    until_s=now_s + 5400 if name == "deepseek" else 0.0,
                )
                for model in MODELS[:2]
            ],
        )
        for index, (name, prices) in enumerate(PRICES.items())
    ]
    return [
        msgspec.structs.replace(report, verdict=verdict, cause=cause, since_s=at_s)
        if report.provider == "fireworks" and at_s > now_s - 80_000
        else report
        for report in reports
    ]
