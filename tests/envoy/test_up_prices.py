"""What `limpet up` says of prices: which window holds at the start, and prices that become stale while it runs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.envoy.cast import PRICES
from tests.envoy.command import Command, write

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_API = "limpet.dev/v1alpha1"
_SOON_S = 5
"""Longer than it takes to begin, most often; if not, it is said at the start."""


async def test_it_says_which_window_holds_and_what_became_stale(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    spec = {
        "providerRef": {"name": "acme"},
        "source": {"name": "Acme's list", "retrieved": f"{midnight:%Y-%m-%d}"},
        "staleAfter": f"{int((now - midnight).total_seconds()) + _SOON_S}s",
        "models": [{"name": "flash", "perMillionTokens": PRICES}],
        "windows": [
            {
                "name": "now",
                "from": f"{now - timedelta(hours=2):%H:%M}",
                "to": f"{now + timedelta(hours=2):%H:%M}",
                "factor": "2",
            }
        ],
    }
    provider = {"vendor": "Custom", "url": "http://127.0.0.1:9", "models": [{"name": "flash"}]}
    metadata = {"name": "acme"}
    objects = [
        {"apiVersion": _API, "kind": "Provider", "metadata": metadata, "spec": provider},
        {"apiVersion": _API, "kind": "Pricing", "metadata": metadata, "spec": spec},
    ]
    write(tmp_path, "acme.yaml", objects)
    async with Command.up(tmp_path) as command:
        await command.says("Ctrl-C ends everything")
        assert any(line.startswith("acme: prices of the window now until ") for line in command.lines)
        assert "note Pricing acme" in await command.says("Stale: read on")
