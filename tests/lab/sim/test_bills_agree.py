"""What Limpet says that a request cost is what the seller charges: two ways of counting, over any price list."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.catalog import CatalogProvider, Model, catalog_of
from limpet_extproc.decision.bills import paid_usd
from limpet_extproc.decision.price import price_for
from limpet_extproc.decision.snapshot import snapshot
from limpet_lab.sim.ledger import price
from limpet_lab.sim.prices import PriceList
from limpet_lab.sim.wire import Usage
from limpet_operator.resources.model_prices import read_prices, read_window

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DOLLARS = st.decimals("0.001", "50", places=3).map(str)
_FACTORS = st.sampled_from(["0.5", "2", "1.5"])
_CACHE = ("cacheRead", "cacheWrite", "cacheWrite1h")


@st.composite
def _rates(draw: st.DrawFn) -> dict[str, str]:
    named = draw(st.sets(st.sampled_from(_CACHE)))
    return {name: draw(_DOLLARS) for name in ("input", "output", *sorted(named))}


@st.composite
def _other(draw: st.DrawFn) -> dict[str, Any]:
    own = draw(st.booleans())
    return {"perMillionTokens": draw(_rates())} if own else {"factor": draw(_FACTORS)}


@st.composite
def _long_context(draw: st.DrawFn) -> list[dict[str, Any]]:
    above = draw(st.lists(st.integers(1, 3000), max_size=3, unique=True))
    return [{"aboveTokens": tokens, **draw(_other())} for tokens in above]


@st.composite
def _window(draw: st.DrawFn) -> dict[str, Any]:
    start, end = draw(st.tuples(st.integers(0, 23), st.integers(0, 23)).filter(lambda hours: hours[0] != hours[1]))
    other = draw(_other())
    if "factor" not in other and draw(st.booleans()):
        other["longContext"] = draw(_long_context())
    return {
        "name": draw(st.uuids().map(str)),
        "timeZone": draw(st.sampled_from(["UTC", "Europe/Berlin", "Asia/Shanghai"])),
        "days": sorted(draw(st.sets(st.sampled_from(_DAYS), min_size=1)), key=_DAYS.index),
        "from": f"{start:02}:00",
        "to": f"{end:02}:30",
        **other,
    }


@dataclass(frozen=True)
class _Tokens:
    """As an answer reports them."""

    prompt: int
    cached: int
    written: int
    written_long: int
    output: int


@st.composite
def _tokens(draw: st.DrawFn) -> _Tokens:
    parts = [draw(st.integers(0, 1500)) for _ in range(4)]
    _, cached, short, long = parts
    return _Tokens(sum(parts), cached, short + long, long, draw(st.integers(0, 800)))


def _as_pricing(
    rates: dict[str, str], long: list[Any], services: dict[str, str], windows: list[dict[str, Any]]
) -> dict[str, Any]:
    """The same prices in the words of a Pricing."""
    model: dict[str, Any] = {"name": "m", "perMillionTokens": rates, "longContext": long}
    model["serviceTiers"] = [{"name": name, "factor": factor} for name, factor in services.items()]
    moved = ("perMillionTokens", "longContext")
    own = [
        {
            **{name: value for name, value in window.items() if name not in moved},
            **(
                {"models": [{"name": "m", **{name: window[name] for name in moved if name in window}}]}
                if "perMillionTokens" in window
                else {}
            ),
        }
        for window in windows
    ]
    return {"models": [model], "windows": own}


@given(
    rates=_rates(),
    long=_long_context(),
    services=st.dictionaries(st.sampled_from(["flex", "priority"]), _FACTORS),
    windows=st.lists(_window(), max_size=3),
    tokens=_tokens(),
    at_s=st.integers(1_790_000_000, 1_830_000_000),
    tier=st.sampled_from(["", "flex", "priority", "auto"]),
)
def test_a_bill_is_what_limpet_says_it_is(
    rates: dict[str, str],
    long: list[Any],
    services: dict[str, str],
    windows: list[dict[str, Any]],
    tokens: _Tokens,
    at_s: int,
    tier: str,
) -> None:
    prices = msgspec.convert({**rates, "longContext": long, "serviceTiers": services, "windows": windows}, PriceList)
    usage = Usage(tokens.prompt, tokens.cached, tokens.written, tokens.output, tokens.written_long)
    charged = price(usage, prices.charged(tokens.prompt, at_s, tier))

    spec = _as_pricing(rates, long, services, windows)
    ours = read_prices(spec, tuple(map(read_window, spec["windows"])))["m"]
    provider = CatalogProvider("p", (Model("m", "m", price=ours.price, price_rules=ours.rules),))
    (candidate,) = snapshot(catalog_of((provider,), ()), now_s=at_s).lanes[("OpenAIChat", "m")].candidates
    counted = price_for(candidate, tokens.prompt, tier)
    assert counted is not None
    assert charged is not None
    assert Decimal(paid_usd(counted, tokens)) == pytest.approx(charged, rel=Decimal("1e-9"), abs=Decimal("1e-15"))
