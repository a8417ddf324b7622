"""What a seller has served and what it charges: totals since the last reset, and the last requests row by row."""

from collections import Counter, deque
from decimal import Decimal

import msgspec

from limpet_lab.sim.prices import Rates
from limpet_lab.sim.wire import Usage

_MILLION = Decimal(1_000_000)


class Row(msgspec.Struct, frozen=True):
    """One request that reached the model."""

    id: str
    account: str
    """`key-1`, `key-2`, … by the order of the seller's keys; `open` where none is required. Never the key."""
    model: str
    stream: bool
    complete: bool
    """False: the answer broke off; what it produced up to then is billed."""
    prompt: int
    cached: int
    written: int
    output: int
    usd: Decimal | None
    written_long: int = 0
    """The part of `written` that stays for an hour."""
    window: str = ""
    """Name of the hours whose prices it was charged; empty: those of the list."""


class Totals(msgspec.Struct, frozen=True):
    """Sums over all rows, also those that have left the list."""

    requests: int = 0
    hits: int = 0
    """Requests that read anything from the cache."""
    prompt: int = 0
    cached: int = 0
    written: int = 0
    output: int = 0
    usd: Decimal | None = Decimal(0)
    """None: at least one request had no known price."""


class LedgerReport(msgspec.Struct, frozen=True):
    """Totals and rows; dollars are decimal strings when written as JSON."""

    totals: Totals
    errors: dict[str, int]
    """Requests that cost nothing, by the status they got or by the fault that left them without one."""
    rows: tuple[Row, ...]
    """Oldest first."""


def price(usage: Usage, prices: Rates | None) -> Decimal | None:
    """Exact dollars of one request at what was charged for it; None without prices, because unknown is not free."""
    if prices is None:
        return None
    read = prices.input if prices.cache_read is None else prices.cache_read
    write = prices.input if prices.cache_write is None else prices.cache_write
    long = write if prices.cache_write_1h is None else prices.cache_write_1h
    return (
        usage.plain * prices.input
        + usage.cached * read
        + (usage.written - usage.written_long) * write
        + usage.written_long * long
        + usage.output * prices.output
    ) / _MILLION


class Ledger:
    """Rows and totals of one seller."""

    def __init__(self, most_rows: int = 2_000) -> None:
        self._rows: deque[Row] = deque(maxlen=most_rows)
        self._totals = Totals()
        self._errors: Counter[str] = Counter()

    def add(self, row: Row) -> None:
        """Book a request."""
        old = self._totals
        self._rows.append(row)
        self._totals = Totals(
            requests=old.requests + 1,
            hits=old.hits + (row.cached > 0),
            prompt=old.prompt + row.prompt,
            cached=old.cached + row.cached,
            written=old.written + row.written,
            output=old.output + row.output,
            usd=None if old.usd is None or row.usd is None else old.usd + row.usd,
        )

    def refuse(self, what: str) -> None:
        """Count a request that costs nothing: by the status it got, or by the fault that left it without one."""
        self._errors[what] += 1

    def reset(self) -> None:
        """Start again at zero."""
        self._rows.clear()
        self._errors.clear()
        self._totals = Totals()

    def report(self, rows: int) -> LedgerReport:
        """Totals, errors and the last `rows` rows."""
        kept = list(self._rows)
        return LedgerReport(self._totals, dict(self._errors), tuple(kept[max(0, len(kept) - rows) :]))
