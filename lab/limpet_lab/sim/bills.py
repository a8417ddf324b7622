"""Books a request that was answered at once."""

from limpet_lab.sim.ledger import Row, price
from limpet_lab.sim.provider import SimulatedProvider
from limpet_lab.sim.wire import Usage


def book(seller: SimulatedProvider, account: str, model: str, usage: Usage) -> None:
    """A row for it."""
    prices, at_s = seller.config.prices_of(model), seller.times.wall()
    window = None if prices is None else prices.window_at(at_s)
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
            usd=price(usage, None if prices is None else prices.charged(usage.prompt, at_s)),
            window=window.name if window else "",
        )
    )
