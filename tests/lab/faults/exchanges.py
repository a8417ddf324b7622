"""Requests as the load would record them."""

from typing import Any

from limpet_lab.bench.faults.bars import FaultBar, FaultOutcome
from limpet_lab.bench.faults.figures import Timeline, figures_of
from limpet_lab.bench.faults.load import Exchange


def exchange(began_s: float, conversation: int = 0, provider: str = "beta", **fields: Any) -> Exchange:
    """A turn of a warm conversation that took a tenth of a second."""
    known: dict[str, Any] = {
        "ended_s": began_s + 0.1,
        "first_byte_s": 0.05,
        "turn": 2,
        "gateway": 0,
        "streams": False,
        "decision": "sticky.hit",
        "attempts": 1,
        "prompt": 100,
        "cached": 90,
    }
    return Exchange(**{"began_s": began_s, "conversation": conversation, "provider": provider, **known, **fields})


def broken(began_s: float, conversation: int = 0, **fields: Any) -> Exchange:
    """A turn without a whole answer."""
    known = {"status": 0, "error": "APIError: broken", "provider": "", "decision": "", "attempts": 0}
    return exchange(began_s, conversation, **{**known, **fields})


def outcome(*exchanges: Exchange, **notes: float | str) -> FaultOutcome:
    """Of a fault of gamma that lasted from the tenth to the twentieth second."""
    timeline = Timeline(10.0, 20.0, 10.0, notes)
    return FaultOutcome(figures_of(exchanges, timeline, "gamma"), timeline, exchanges, "gamma")


def seen(bar: FaultBar, *exchanges: Exchange, **notes: float | str) -> str | None:
    """What a bar says of them: None if it is held."""
    return bar.missed(outcome(*exchanges, **notes))
