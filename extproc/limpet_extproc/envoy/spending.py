"""Counts what requests cost: into the ledger and the metrics, as their outcomes become known."""

from collections.abc import Callable
from typing import Final

from limpet_extproc.contract.apis import ApiKind
from limpet_extproc.contract.attempt import AttemptOutcome
from limpet_extproc.contract.ledger import HOUR_S, RowKey, RowSums
from limpet_extproc.contract.record import Record
from limpet_extproc.decision.bills import RequestBill, bill
from limpet_extproc.decision.snapshot import Lane
from limpet_extproc.envoy.usage import TokenUsage
from limpet_extproc.memory.ledger import OTHERS, LedgerBook
from limpet_extproc.telemetry.metrics import WorkerMetrics

MOST_TENANTS: Final = 300
"""In the metrics of one worker; each is a series that Prometheus keeps for years."""

_MAY_COST: Final[frozenset[AttemptOutcome]] = frozenset({"ok", "client_left"})
_FREE: Final[frozenset[ApiKind]] = frozenset({"object", "counting"})

LaneOf = Callable[[str, str], Lane | None]
"""From `apis.Api.name` and the model."""


class Spending:
    """The ledger's side of outcomes."""

    def __init__(self, lane_of: LaneOf, book: LedgerBook, metrics: WorkerMetrics, clock: Callable[[], float]) -> None:
        self._lane_of = lane_of
        self._book = book
        self._metrics = metrics
        self._clock = clock
        self._tenants: set[str] = set()

    def count(self, provider: str, outcome: AttemptOutcome, record: Record | None, usage: TokenUsage | None) -> None:
        """A request has ended at this provider. What is neither answered nor broken off by its client costs nothing."""
        if not provider or outcome not in _MAY_COST or (record is not None and record.kind in _FREE):
            return
        model = record.model if record else ""
        tenant, policy = (record.tenant, record.policy) if record else ("", "")
        key = RowKey(int(self._clock() // HOUR_S), "traffic", provider, model, tenant, policy)
        if usage is None:
            if outcome == "ok" and record is not None and record.kind != "conversation":
                return  # such as a moderation: nothing says that it costs anything
            self._metrics.unbilled.add(1, provider, model, "unmetered")
            self._book.add(key, RowSums(1, unmetered=1))
            return
        lane = self._lane_of(record.api, record.model) if record else None
        found = bill(lane, provider, record, usage) if lane is not None and record is not None else None
        if found is None:
            self._metrics.unbilled.add(1, provider, model, "unpriced")
            self._book.add(
                key,
                RowSums(
                    1,
                    unpriced=1,
                    prompt_tokens=usage.prompt,
                    cached_tokens=usage.cached or 0,
                    output_tokens=usage.output,
                ),
            )
            return
        if found.cache_unreported:
            self._metrics.unbilled.add(1, provider, model, "cache_unreported")
        self._measure(found, key)
        self._book.add(key, _sums(found, usage))

    def _measure(self, found: RequestBill, key: RowKey) -> None:
        tenant = key.tenant
        if tenant not in self._tenants:
            if len(self._tenants) < MOST_TENANTS:
                self._tenants.add(tenant)
            else:
                tenant = OTHERS
        for rule, usd in (
            ("paid", found.paid_usd),
            ("uncached", found.uncached_usd),
            ("spread", found.spread_usd),
            ("cheapest", found.cheapest_usd),
        ):
            self._metrics.bill_usd.add(usd, key.provider, key.model, key.policy, rule)
            self._metrics.tenant_bill_usd.add(usd, tenant, rule)


def _sums(found: RequestBill, usage: TokenUsage) -> RowSums:
    return RowSums(
        requests=1,
        cache_unreported=int(found.cache_unreported),
        prompt_tokens=usage.prompt,
        cached_tokens=usage.cached or 0,
        output_tokens=usage.output,
        paid_usd=found.paid_usd,
        uncached_usd=found.uncached_usd,
        spread_usd=found.spread_usd,
        cheapest_usd=found.cheapest_usd,
    )
