"""The ledger in the making: sums of the hour that is on, and the port of where they are kept."""

from collections.abc import Mapping
from typing import Final, Protocol

from limpet_extproc.contract.ledger import HOUR_S, NOTHING_SPENT, RowKey, Rows, RowSums

MOST_HOUR_ROWS: Final = 5_000
"""Of one hour in one worker; beyond these one for each provider, policy and client, and one for all other tenants."""
OTHERS: Final = "(others)"
"""Stands for many tenants or models; no client has this name."""


class LedgerUnavailableError(Exception):
    """The rows could not be written now; the message says why."""


class LedgerStore(Protocol):
    """Where rows are kept beyond this process, with those of other workers."""

    async def write(self, totals: Rows) -> None:
        """Keep these; each is all that this process has added to its row so far, so that writing twice adds nothing.

        Raises LedgerUnavailableError.
        """

    async def close(self) -> None:
        """No more is written."""


class LedgerBook:
    """What one worker adds to the ledger."""

    def __init__(self) -> None:
        self._totals: dict[RowKey, RowSums] = {}
        self._unwritten: set[RowKey] = set()

    def add(self, key: RowKey, sums: RowSums, *, is_client: bool = False) -> None:
        """Count a request, or several.

        `is_client`: the tenant has a name, which counts for its dollars a day. There are as many as have keys; others,
        and models, can be invented.
        """
        if key not in self._totals and len(self._totals) >= MOST_HOUR_ROWS:
            tenant = key.tenant if is_client else OTHERS
            key = RowKey(key.hour, key.kind, key.provider, OTHERS, tenant, key.policy)
        self._totals[key] = self._totals.get(key, NOTHING_SPENT).plus(sums)
        self._unwritten.add(key)

    def unwritten(self) -> Mapping[RowKey, RowSums]:
        """The rows that have changed since they were written, in full."""
        return {key: self._totals[key] for key in self._unwritten}

    def written(self, rows: Mapping[RowKey, RowSums], now_s: float) -> None:
        """These have been written as they were then; rows of hours that are over are forgotten."""
        self._unwritten -= {key for key, sums in rows.items() if self._totals[key] == sums}
        hour = int(now_s // HOUR_S)
        for key in [key for key in self._totals if key.hour < hour and key not in self._unwritten]:
            del self._totals[key]
