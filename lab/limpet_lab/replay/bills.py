"""What a simulated provider charges: its own arithmetic, apart from the decision's."""

from limpet_extproc.contract.catalog import Model
from limpet_extproc.contract.price_windows import price_at
from limpet_extproc.contract.prices import Price, PriceNow


class PriceBook:
    """The prices of one model over time; asks for them only when a window may have turned."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._from_s, self._until_s = 0.0, 0.0
        self._now: PriceNow | None = None

    def at(self, prompt_tokens: int, now_s: float) -> Price:
        """Of a prompt of this length at that time; the model has to have a price."""
        if self._now is None or not self._from_s <= now_s < self._until_s:
            now = price_at(self._model, now_s)
            assert now is not None
            self._now, self._from_s, self._until_s = now, now_s, now.until_s
        price = self._now.price
        for tier in self._now.tiers:
            if prompt_tokens > tier.above_tokens:
                price = tier.price
        return price


def usd(price: Price, prompt_tokens: int, cached_tokens: int, output_tokens: int, *, written: bool = True) -> float:
    """Of one request; `written`: whether what is not read from the cache is written to it."""
    missed = (prompt_tokens - cached_tokens) * (price.cache_write if written else price.input)
    return (missed + cached_tokens * price.cache_read + output_tokens * price.output) * 1e-6
