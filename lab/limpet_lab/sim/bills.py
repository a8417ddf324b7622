"""Books what a seller charges for a request."""

from decimal import Decimal

from limpet_lab.sim.ledger import Row, price
from limpet_lab.sim.provider import SimulatedProvider
from limpet_lab.sim.wire import Usage


def charge(
    seller: SimulatedProvider, model: str, usage: Usage, arrived_s: float, service_tier: object = None
) -> tuple[Decimal | None, str]:
    """Dollars for a request that came at this Unix time, None without prices; and the window whose prices counted."""
    prices = seller.config.prices_of(model)
    if prices is None:
        return None, ""
    window = prices.window_at(arrived_s)
    return price(usage, prices.charged(usage.prompt, arrived_s, service_tier)), window.name if window else ""


def book(seller: SimulatedProvider, account: str, model: str, usage: Usage) -> None:
    """A row for a request that was answered at once."""
    usd, window = charge(seller, model, usage, seller.times.wall())
    seller.ledger.add(
        Row(
            id=seller.new_id(),
            account=account,
            model=model,
            stream=False,
            complete=True,
            prompt=usage.prompt,
            cached=usage.cached,
            written=usage.written,
            output=usage.output,
            usd=usd,
            window=window,
        )
    )
