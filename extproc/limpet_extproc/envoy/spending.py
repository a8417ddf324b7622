"""Counts what requests cost: into the ledger and the metrics, as their outcomes become known."""

from collections.abc import Callable
from typing import Final

from limpet_extproc.contract.apis import ApiKind
from limpet_extproc.contract.attempt import AttemptOutcome
from limpet_extproc.contract.ledger import HOUR_S, RowKey, RowSums
from limpet_extproc.contract.record import Record
from limpet_extproc.decision.bills import RequestBill, bill
from limpet_extproc.decision.snapshot import Lane
from limpet_extproc.decision.unreported import estimated_usd, more_output_usd
from limpet_extproc.envoy.usage import TokenUsage
from limpet_extproc.memory.ledger import OTHERS, LedgerBook
from limpet_extproc.telemetry.metrics import WorkerMetrics

MOST_TENANTS: Final = 300
"""In the metrics of one worker; each is a series that Prometheus keeps for years."""

_MAY_COST: Final[frozenset[AttemptOutcome]] = frozenset({"ok", "client_left"})
_FREE: Final[frozenset[ApiKind]] = frozenset({"object", "counting"})

LaneOf = Callable[[str, str], Lane | None]
"""From `apis.Api.name` and the model."""


_Account = tuple[str, str, str, str, bool]
"""Provider, model, tenant, policy, and whether the tenant is a client with a key."""


class _Sums:
    """Of the bills of an account that are not settled yet; one request adds little to them, so it may cost little."""

    __slots__ = (
        "cache_unreported",
        "cached_tokens",
        "cheapest_usd",
        "output_tokens",
        "paid_usd",
        "prompt_tokens",
        "requests",
        "spread_usd",
        "uncached_usd",
    )

    def __init__(self) -> None:
        self.requests = self.cache_unreported = 0
        self.prompt_tokens = self.cached_tokens = self.output_tokens = 0
        self.paid_usd = self.uncached_usd = self.spread_usd = self.cheapest_usd = 0.0

    def add(self, found: RequestBill, usage: TokenUsage) -> None:
        """One more request."""
        self.requests += 1
        self.cache_unreported += found.cache_unreported
        self.prompt_tokens += usage.prompt
        self.cached_tokens += usage.cached or 0
        self.output_tokens += usage.output
        self.paid_usd += found.paid_usd
        self.uncached_usd += found.uncached_usd
        self.spread_usd += found.spread_usd
        self.cheapest_usd += found.cheapest_usd

    def row(self) -> RowSums:
        """As the ledger takes them."""
        return RowSums(
            requests=self.requests,
            cache_unreported=self.cache_unreported,
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            output_tokens=self.output_tokens,
            paid_usd=self.paid_usd,
            uncached_usd=self.uncached_usd,
            spread_usd=self.spread_usd,
            cheapest_usd=self.cheapest_usd,
        )


def _estimate(usd: float) -> RowSums:
    """The same by all rules: nobody knows what a cache has saved of it."""
    return RowSums(paid_usd=usd, uncached_usd=usd, spread_usd=usd, cheapest_usd=usd)


class Spending:
    """The ledger's side of outcomes."""

    def __init__(
        self,
        lane_of: LaneOf,
        book: LedgerBook,
        metrics: WorkerMetrics,
        clock: Callable[[], float],
        client_spent: Callable[[str, float], None] = lambda _client, _usd: None,
    ) -> None:
        """`client_spent` is called with a client's name and the dollars of one of its requests."""
        self._client_spent = client_spent
        self._lane_of = lane_of
        self._book = book
        self._metrics = metrics
        self._clock = clock
        self._tenants: set[str] = set()
        self._unsettled: dict[_Account, _Sums] = {}

    def count(
        self,
        provider: str,
        outcome: AttemptOutcome,
        record: Record | None,
        usage: TokenUsage | None,
        answer_bytes: int = 0,
    ) -> RequestBill | None:
        """A request has ended at this provider, after so much of an answer; its bill, if it can be known.

        What is neither answered nor broken off by its client costs nothing. Bills are only summed up; `settle` enters
        the sums. What a client with a key has spent is told at once, as its next request may be over its limit.
        """
        if not provider or outcome not in _MAY_COST or (record is not None and record.kind in _FREE):
            return None
        model = record.model if record else ""
        tenant, policy = (record.client or record.tenant, record.policy) if record else ("", "")
        account = provider, model, tenant, policy, record is not None and bool(record.client)
        if usage is None:
            if outcome == "ok" and record is not None and record.kind != "conversation":
                return None  # such as a moderation: nothing says that it costs anything
            self._metrics.unbilled.add(1, provider, model, "unmetered")
            usd = self._estimated(provider, record, answer_bytes)
            self._enter(account, RowSums(1, unmetered=1).plus(_estimate(usd)))
            return None
        lane = self._lane_of(record.api, record.model) if record else None
        found = bill(lane, provider, record, usage) if lane is not None and record is not None else None
        if found is None:
            self._metrics.unbilled.add(1, provider, model, "unpriced")
            self._enter(
                account,
                RowSums(
                    1,
                    unpriced=1,
                    prompt_tokens=usage.prompt,
                    cached_tokens=usage.cached or 0,
                    output_tokens=usage.output,
                ),
            )
            return None
        if found.cache_unreported:
            self._metrics.unbilled.add(1, provider, model, "cache_unreported")
        if outcome == "client_left" and lane is not None and record is not None and record.client:
            usd = more_output_usd(lane, provider, record, usage.output, answer_bytes)
            self._client_spent(record.client, usd)
            self._enter(account, _estimate(usd))
        if record is not None and record.client:
            self._client_spent(record.client, found.paid_usd)
        sums = self._unsettled.get(account)
        if sums is None:
            sums = self._unsettled[account] = _Sums()
        sums.add(found, usage)
        return found

    def _estimated(self, provider: str, record: Record | None, answer_bytes: int) -> float:
        """What a client with a key has spent on an answer without usage, in dollars."""
        if record is None or not record.client or record.kind != "conversation":
            return 0.0
        lane = self._lane_of(record.api, record.model)
        usd = estimated_usd(lane, provider, record, answer_bytes) if lane is not None else 0.0
        self._client_spent(record.client, usd)
        return usd

    def settle(self) -> None:
        """Enter what has been counted into the ledger and the metrics.

        To be called now and then, and before the ledger is read; not for each request, as with many providers nearly
        each one has an account of its own.
        """
        for account, sums in self._unsettled.items():
            self._measure(account, sums)
            self._enter(account, sums.row())
        self._unsettled.clear()

    def _enter(self, account: _Account, sums: RowSums) -> None:
        *names, is_client = account
        self._book.add(RowKey(int(self._clock() // HOUR_S), "traffic", *names), sums, is_client=is_client)

    def _measure(self, account: _Account, sums: _Sums) -> None:
        provider, model, tenant, policy, _ = account
        if tenant not in self._tenants:
            if len(self._tenants) < MOST_TENANTS:
                self._tenants.add(tenant)
            else:
                tenant = OTHERS
        for rule, usd in (
            ("paid", sums.paid_usd),
            ("uncached", sums.uncached_usd),
            ("spread", sums.spread_usd),
            ("cheapest", sums.cheapest_usd),
        ):
            self._metrics.bill_usd.add(usd, provider, model, policy, rule)
            self._metrics.tenant_bill_usd.add(usd, tenant, rule)
