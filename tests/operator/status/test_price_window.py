"""Which windows of a price list hold, and until when."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.operator.conftest import Build

from limpet_operator.resources.pricing import Pricing
from limpet_operator.status.conditions import desired_window
from limpet_operator.status.price_window import window_in_force

PRICES = {"perMillionTokens": {"input": "1", "output": "1"}}
PEAK = {"name": "peak", "from": "09:00", "to": "18:00", "factor": "2"}
BERLIN = PEAK | {"timeZone": "Europe/Berlin"}
MARS = PEAK | {"timeZone": "Mars/Olympus"}
OF_A = {"name": "a-only", "from": "08:00", "to": "12:00", "models": [{"name": "a", **PRICES}]}
OF_B = {"name": "b-only", "from": "10:00", "to": "11:00", "models": [{"name": "b", **PRICES}]}


@pytest.mark.parametrize(
    ("windows", "now", "status"),
    [
        ([], "2026-11-20T10:00", None),
        ([PEAK], "2026-11-20T08:59", {"name": None, "until": "2026-11-20T09:00:00Z"}),
        ([PEAK], "2026-11-20T09:00", {"name": "peak", "until": "2026-11-20T18:00:00Z"}),
        ([PEAK], "2026-11-20T18:00", {"name": None, "until": "2026-11-21T09:00:00Z"}),
        ([BERLIN], "2026-11-20T10:00", {"name": "peak", "until": "2026-11-20T17:00:00Z"}),
        # One that is left out says nothing.
        ([MARS], "2026-11-20T10:00", None),
        # Of different models.
        ([OF_A, OF_B], "2026-11-20T09:00", {"name": "a-only", "until": "2026-11-20T10:00:00Z"}),
        ([OF_A, OF_B], "2026-11-20T10:00", {"name": "a-only, b-only", "until": "2026-11-20T11:00:00Z"}),
        ([OF_B, OF_A], "2026-11-20T10:30", {"name": "b-only, a-only", "until": "2026-11-20T11:00:00Z"}),
        # A model that is not listed keeps what it has otherwise.
        ([OF_A, PEAK], "2026-11-20T10:00", {"name": "a-only, peak", "until": "2026-11-20T12:00:00Z"}),
    ],
)
def test_what_the_status_says(
    build: Build, windows: list[dict[str, Any]], now: str, status: dict[str, Any] | None
) -> None:
    parsed = build.parser.parse(
        build.raw("Pricing", models=[{"name": "a", **PRICES}, {"name": "b", **PRICES}], windows=windows)
    )
    assert isinstance(parsed, Pricing)
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert desired_window(window_in_force(parsed, at.timestamp())) == status
