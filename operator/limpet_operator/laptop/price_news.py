"""Says which price windows hold, at the start and when that changes, and notices when prices become stale."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from math import inf
from typing import Final

from limpet_operator.planning.plan import Plan
from limpet_operator.resources.pricing import Pricing
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.status.price_window import WindowInForce, window_in_force

LOOK_EVERY_S: Final = 1.0
"""By the machine's clock, which may be set, and stands on in sleep."""


def windows_by_provider(pricings: Iterable[Pricing], planned: Plan, now_s: float) -> dict[str, WindowInForce]:
    """What holds at this Unix time at each Provider that has windows, by its name, in the order of names."""
    found: dict[str, list[WindowInForce]] = {}
    for pricing in pricings:
        findings = planned.findings[pricing.key]
        window = window_in_force(pricing, now_s) if findings.accepted.ok and findings.resolved_refs.ok else None
        if window is not None:
            name = ObjectKey("Provider", pricing.key.namespace, pricing.provider_ref).display_name
            found.setdefault(name, []).append(window)
    return {
        name: WindowInForce(", ".join(filter(None, (each.names for each in some))), min(each.until_s for each in some))
        for name, some in sorted(found.items())
    }


class PriceNews:
    """Follows the plan and the clock."""

    def __init__(self, say: Callable[[str], None], on_age: Callable[[], None], clock: Callable[[], float]) -> None:
        """`on_age` is called when other prices are stale than before; `clock` gives Unix seconds, as prices mean it."""
        self._say = say
        self._on_age = on_age
        self._clock = clock
        self._pricings: tuple[Pricing, ...] = ()
        self._planned = Plan()
        self._told: Mapping[str, WindowInForce] = {}
        self._stale: frozenset[ObjectKey] = frozenset()
        self._looked_s, self._again_s = inf, inf

    def changed(self, pricings: Iterable[Pricing], planned: Plan) -> None:
        """These are the prices now; the next look goes by them."""
        self._pricings, self._planned = tuple(pricings), planned
        self._looked_s = inf

    def look(self) -> list[str]:
        """A line for each Provider where another window holds than was told, or until another time."""
        now_s = self._clock()
        if self._looked_s <= now_s < self._again_s:
            return []
        windows = windows_by_provider(self._pricings, self._planned, now_s)
        ages = {key: stale_at.timestamp() for key, stale_at in self._planned.stale_at.items()}
        stale = frozenset(key for key, stale_s in ages.items() if stale_s <= now_s)
        turns = (*(each.until_s for each in windows.values()), *(ages[key] for key in ages.keys() - stale))
        self._looked_s, self._again_s = now_s, min(turns, default=inf)
        if stale != self._stale:
            self._stale = stale
            self._on_age()
        lines = [_line(name, each, now_s) for name, each in windows.items() if self._told.get(name) != each]
        self._told = windows
        return lines

    async def run(self, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> None:
        """Say it for ever."""
        while True:
            for line in self.look():
                self._say(f"{datetime.fromtimestamp(self._clock()):%H:%M:%S}  {line}")  # noqa: DTZ006 (the user's clock)
            await sleep(LOOK_EVERY_S)


def _line(provider: str, window: WindowInForce, now_s: float) -> str:
    what = f"prices of the window {window.names}" if window.names else "the usual prices"
    return f"{provider}: {what} until {_local(window.until_s, now_s)}"


def _local(at_s: float, now_s: float) -> str:
    """By the clock of this machine, as the user reads it; with the day unless it is today."""
    at, now = datetime.fromtimestamp(at_s).astimezone(), datetime.fromtimestamp(now_s).astimezone()
    return f"{at:%H:%M}" if at.date() == now.date() else f"{at:%a %Y-%m-%d %H:%M}"
