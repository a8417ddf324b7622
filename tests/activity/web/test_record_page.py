"""One request in sentences and numbers."""

import msgspec
import pytest
from tests.activity.store.answers import RECORDS, T0, one
from tests.activity.web.people import signed_in
from tests.activity.web.texts import text_of, with_records

from limpet_extproc.contract.activity import (
    ActivityRecord,
    ConsideredProvider,
)


def test_a_record_in_sentences() -> None:
    record = msgspec.structs.replace(
        RECORDS[2],
        streamed=True,
        first_byte_s=0.42,
        written_tokens=2000,
        reasoning_tokens=30,
        expected_tokens=2048,
        uncached_usd=2.0,
        spread_usd=1.75,
        cheapest_usd=1.0,
        considered=(
            ConsideredProvider("beta", "", 0, 1.5, T0 + 600),
            ConsideredProvider("gamma", "", 12, 1.75, 0.0),
            ConsideredProvider("alpha", "down"),
        ),
    )
    text = text_of(signed_in(with_records(record)), "/activity/r3")
    for part in (
        "beta answered after alpha did not: 1.0 s in all, 420 ms to the first token.",
        "The warm provider was down. But alpha failed with 500 (server error), so beta answered. sticky.left.down",
        "Another provider had served the last turn",
        "written to the cache 2,000",
        "neither 1,000",
        "100 30 of them reasoning",
        "0 were expected",
        "paid $1.50",
        "without a cache $2.00",
        "not sticky $1.75",
        "always cheapest $1.00",
        "The cache saved $0.50 (25 %)",
        "gamma 12 $1.75",
        "is down",
        "alpha failed: server error 500",
        "beta answered 200",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("record", "part"),
    [
        (RECORDS[3], "Enforce would have sent it to gamma and saved $0.75: The conversation was expected"),
        (RECORDS[5], "No provider was asked"),
        (one(9, 0, reason="answered.models"), "The gateway answered itself: 1.0 s in all."),
        (RECORDS[5], "messages: missing"),
        (RECORDS[6], "broke off"),
        (RECORDS[7], "client left"),
        (RECORDS[7], "No provider answered: 1 tried"),
        (one(9, 0, reason="", status=0), "Why it went there is not known."),
        (one(9, 0, paid_usd=2.0, uncached_usd=1.5), "Writing to the cache cost $0.50 more than it saved"),
    ],
)
def test_records_that_ended_otherwise(record: ActivityRecord, part: str) -> None:
    assert part in text_of(signed_in(with_records(record)), f"/activity/{record.id}")


@pytest.mark.parametrize(
    ("provider", "enforce_provider", "observed_usd", "told"),
    [
        ("beta", "alpha", 1.5, "Enforce would have sent it to alpha and cost $0.50 more: The prompt was shorter"),
        ("beta", "alpha", 1.0, "Enforce would have sent it to alpha: The prompt was shorter"),
        ("beta", "beta", 1.0, "Enforce would have sent it to beta too: The prompt was shorter"),
        ("beta", "alpha", None, "Enforce would have sent it to alpha: The prompt was shorter"),
        ("beta", "", 0.5, "Enforce would have decided otherwise and saved $0.50: The prompt was shorter"),
    ],
)
def test_where_enforce_would_have_sent_it(
    provider: str, enforce_provider: str, observed_usd: float | None, told: str
) -> None:
    record = one(
        1,
        0,
        reason="observe.spread",
        enforce_reason="unsticky.below_minimum",
        provider=provider,
        enforce_provider=enforce_provider,
        paid_usd=1.0,
        observed_usd=observed_usd,
    )
    assert told in text_of(signed_in(with_records(record)), "/activity/r1")


def test_what_was_not_reported_is_no_zero() -> None:
    record = one(1, 0, provider="alpha", prompt_tokens=3890, cached_tokens=0, output_tokens=1)
    text = text_of(signed_in(with_records(record)), "/activity/r1")
    assert "read from the cache 0 written to the cache not reported not read from it 3,890" in text
    text = text_of(signed_in(with_records(msgspec.structs.replace(record, cached_tokens=None))), "/activity/r1")
    assert "read from the cache not reported written to the cache not reported the rest of the prompt 3,890" in text
