"""Keeps the prices that a worker decides by those of the hour, and shows which these are."""

import logging
from collections.abc import Callable

from limpet_extproc.contract.catalog import Catalog
from limpet_extproc.decision.snapshot import Snapshot, repriced, snapshot
from limpet_extproc.telemetry.price_metrics import PriceMetrics

_log = logging.getLogger(__name__)


class PriceHours:
    """Makes a worker's tables."""

    def __init__(self, metrics: PriceMetrics, clock: Callable[[], float]) -> None:
        """`clock` is the machine's own: price lists mean the time of day, however often the clock is set."""
        self._metrics = metrics
        self._clock = clock

    def tables(self, catalog: Catalog, before: Snapshot) -> Snapshot:
        """Those of a catalog, with the prices of this hour."""
        tables = snapshot(catalog, before, self._clock())
        unpriced = {each.name: sum(model.price is None for model in each.models) for each in catalog.providers}
        self._metrics.show_unpriced({name: number for name, number in unpriced.items() if number})
        self._show(tables)
        return tables

    def turned(self, before: Snapshot) -> Snapshot:
        """The same tables with the prices of this hour; the very same if no window has turned. To be asked often."""
        tables = repriced(before, self._clock())
        if tables is not before:
            if differing := tables.prices.differing(before.prices):
                _log.info("prices change with the hour at %s", ", ".join(sorted({name for name, _ in differing})))
            self._show(tables)
        return tables

    def _show(self, tables: Snapshot) -> None:
        held = tables.prices.windowed.items()
        self._metrics.show_windows(frozenset((*key, each.now.window) for key, each in held if each.now.window))
