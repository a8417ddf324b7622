"""Records for the tests of exporters."""

import msgspec

from limpet_extproc.contract.activity import ActivityRecord, ConsideredProvider, TriedProvider

RECORD = ActivityRecord(
    id="1f0c",
    time_s=1_700_000_000.5,
    gateway="laptop",
    reason="sticky.failover",
    status=200,
    duration_s=2.0,
    conversation="c0ffee",
    tenant="7e",
    client="team-a",
    policy="default",
    model="deepseek/small",
    api="OpenAIChat",
    kind="conversation",
    identified_by="header",
    provider="deepseek-eu",
    attempts=(
        TriedProvider("alpha", "failed", 503, "ServerError", 0.1, 0.4),
        TriedProvider("deepseek-eu", "ok", 200, "", 0.5, 1.5),
    ),
    considered=(ConsideredProvider("alpha", "down"),),
    streamed=True,
    first_byte_s=0.7,
    prompt_tokens=5000,
    cached_tokens=4000,
    written_tokens=900,
    output_tokens=70,
    reasoning_tokens=20,
    expected_tokens=4096,
    cause="moved(failed)",
    paid_usd=0.001,
    uncached_usd=0.004,
    path="/v1/chat/completions",
    error="alpha said: the words of a prompt",
)
"""A request that a second provider answered."""


def numbered(count: int, begin: int = 0) -> list[ActivityRecord]:
    """Records with the ids 0, 1, 2 and so on."""
    return [msgspec.structs.replace(RECORD, id=str(number)) for number in range(begin, begin + count)]
