"""What ended requests add to the ledger and to the metrics."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from tests.extproc.conftest import Make

from limpet_extproc.contract.attempt import AttemptOutcome
from limpet_extproc.contract.ledger import HOUR_S, RowKey, RowSums
from limpet_extproc.contract.record import CacheEvidence, Record
from limpet_extproc.envoy.spending import MOST_TENANTS, Spending
from limpet_extproc.envoy.usage import TokenUsage
from limpet_extproc.memory.ledger import MOST_HOUR_ROWS, OTHERS, LedgerBook
from limpet_extproc.telemetry.metrics import WorkerMetrics

KEY = RowKey(7, "traffic", "a", "flash", "alice", "default")
USAGE = TokenUsage(1_000_000, 0, 0)


class Books:
    """A ledger over a lane of one provider, `a`, whose price is known unless a test says otherwise."""

    def __init__(self, make: Make, **provider: Any) -> None:
        self._lane = make.lane(make.provider("a", **provider))
        self.book, self.registry = LedgerBook(), CollectorRegistry()
        self.metrics = WorkerMetrics(self.registry)
        self.spent: dict[str, float] = {}
        self._spending = Spending(
            lambda api, model: self._lane, self.book, self.metrics, lambda: 7.5 * HOUR_S, self._client_spent
        )

    def _client_spent(self, client: str, usd: float) -> None:
        self.spent[client] = self.spent.get(client, 0.0) + usd

    def count(self, outcome: AttemptOutcome, usage: TokenUsage | None, *, provider: str = "a", **fields: Any) -> None:
        self.count_only(outcome, usage, provider=provider, **fields)
        self.settle()

    def settle(self) -> None:
        self._spending.settle()

    def count_only(
        self,
        outcome: AttemptOutcome,
        usage: TokenUsage | None,
        *,
        provider: str = "a",
        answer_bytes: int = 0,
        **fields: Any,
    ) -> None:
        usual: dict[str, Any] = {
            "key": b"k", "model": "flash", "identified_by": "", "reason": "sticky.hit", "enforce_reason": None,
            "order": ("a",), "ttls_s": (300.0,), "started_s": 0.0, "prompt_tokens": 1, "max_providers": 4,
            "learn": True, "tenant": "alice", "policy": "default",
        }  # fmt: skip
        self._spending.count(provider, outcome, Record(**{**usual, **fields}), usage, answer_bytes)

    def unread(self, usage: TokenUsage | None) -> None:
        """A request that no worker has read."""
        self._spending.count("a", "ok", None, usage)
        self._spending.settle()

    def counted(self, name: str, **labels: str) -> float:
        self.metrics.flush()
        return self.registry.get_sample_value(name, labels) or 0.0


def test_an_answer_is_in_its_hours_row_and_in_the_metrics(make: Make) -> None:
    books = Books(make)
    books.count("ok", USAGE)
    books.count("ok", USAGE)
    (key, sums), *others = books.book.unwritten().items()
    assert (key, others, sums.requests, sums.prompt_tokens) == (KEY, [], 2, 2_000_000)
    assert [sums.paid_usd, sums.uncached_usd, sums.spread_usd, sums.cheapest_usd] == pytest.approx([0.3] * 4)
    for rule in ("paid", "uncached", "spread", "cheapest"):
        labels = {"provider": "a", "model": "flash", "policy": "default", "rule": rule}
        assert books.counted("limpet_bill_usd_total", **labels) == pytest.approx(0.3)
        assert books.counted("limpet_tenant_bill_usd_total", tenant="alice", rule=rule) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("outcome", "usage", "fields", "price", "sums", "why"),
    [
        ("ok", USAGE, {}, None, RowSums(1, unpriced=1, prompt_tokens=1_000_000), "unpriced"),
        ("ok", None, {}, Make.price, RowSums(1, unmetered=1), "unmetered"),
        ("client_left", None, {}, Make.price, RowSums(1, unmetered=1), "unmetered"),
    ],
)
def test_what_is_not_known_is_counted_apart_and_never_free(
    make: Make, outcome: AttemptOutcome, usage: TokenUsage | None, fields: Any, price: Any, sums: RowSums, why: str
) -> None:
    books = Books(make, price=price)
    books.count(outcome, usage, **fields)
    assert books.book.unwritten() == {KEY: sums}
    assert books.counted("limpet_unbilled_requests_total", provider="a", model="flash", why=why) == 1


def test_an_answer_that_hides_what_it_read_is_an_upper_bound(make: Make) -> None:
    books = Books(make)
    books.count("ok", TokenUsage(1_000_000, None, 0))
    (sums,) = books.book.unwritten().values()
    assert sums.cache_unreported == 1
    assert sums.paid_usd == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("outcome", "fields"),
    [
        ("failed", {}),
        ("limited", {}),
        ("refused", {}),
        ("ok", {"kind": "counting"}),
        ("ok", {"kind": "object"}),
        ("ok", {"kind": "stateless"}),  # without usage: such as a moderation
        ("ok", {"provider": ""}),
    ],
)
def test_what_costs_nothing_is_in_no_row(make: Make, outcome: AttemptOutcome, fields: dict[str, Any]) -> None:
    books = Books(make)
    books.count(outcome, None, **fields)
    assert not books.book.unwritten()


def test_a_request_that_no_worker_read_has_no_price(make: Make) -> None:
    books = Books(make)
    books.unread(USAGE)
    assert books.book.unwritten() == {RowKey(7, "traffic", "a", ""): RowSums(1, unpriced=1, prompt_tokens=1_000_000)}


def test_series_of_tenants_have_a_bound(make: Make) -> None:
    books = Books(make)
    for number in range(MOST_TENANTS + 3):
        books.count("ok", USAGE, tenant=str(number))
    assert books.counted("limpet_tenant_bill_usd_total", tenant=OTHERS, rule="paid") == pytest.approx(0.45)


def test_a_client_has_a_row_of_its_own_where_others_share_one(make: Make) -> None:
    """Its dollars a day count by it, over all workers."""
    books = Books(make)
    for number in range(MOST_HOUR_ROWS):
        books.book.add(RowKey(7, "traffic", "a", "flash", str(number), "default"), RowSums(1))
    books.count("ok", USAGE, client="robot")
    books.count("client_left", None, client="robot", answer_bytes=300)
    books.count("ok", USAGE)
    rows = {key.tenant: sums for key, sums in books.book.unwritten().items() if key.model == OTHERS}
    assert rows.keys() == {"robot", OTHERS}
    assert rows["robot"].requests == 2
    assert rows["robot"].paid_usd == pytest.approx(books.spent["robot"])


def test_requests_that_are_settled_together_are_entered_together(make: Make) -> None:
    books = Books(make)
    for _ in range(3):
        books.count_only("ok", USAGE)
    assert not books.book.unwritten()
    books.settle()
    ((row, sums),) = books.book.unwritten().items()
    assert (sums.requests, sums.prompt_tokens) == (3, 3_000_000)
    assert sums.paid_usd == pytest.approx(0.45)
    books.settle()
    assert books.book.unwritten() == {row: sums}


def test_what_a_client_spends_counts_before_it_is_entered_and_once(make: Make) -> None:
    """Its next request may be over its limit."""
    books = Books(make)
    books.count_only("ok", USAGE, client="ci")
    assert not books.book.unwritten()
    assert books.spent == {"ci": pytest.approx(0.15)}
    books.settle()
    assert books.spent == {"ci": pytest.approx(0.15)}
    ((row, sums),) = books.book.unwritten().items()
    assert row.tenant == "ci"
    assert sums.paid_usd == pytest.approx(0.15)


def _of_client(**fields: Any) -> dict[str, Any]:
    return {"client": "ci", "prompt_tokens": 1_000_000, "output_tokens": 1_000_000, **fields}


@pytest.mark.parametrize(
    ("outcome", "usage", "fields", "answer_bytes", "usd"),
    [
        ("client_left", None, {"streamed": True}, 0, 0.15),
        ("client_left", None, {"streamed": True}, 300_000_000, 0.15 + 0.6),
        ("client_left", None, {"streamed": True, "cache": CacheEvidence(expected=(1_000_000,))}, 0, 0.003),
        ("client_left", None, {}, 0, 0.15 + 0.6),
        ("ok", None, {"streamed": True}, 300_000_000, 0.15 + 0.6),
        ("client_left", TokenUsage(1_000_000, 0, 1), {"streamed": True}, 300_000_000, 0.15 + 0.6),
        ("client_left", TokenUsage(1_000_000, 0, 2_000_000), {"streamed": True}, 300_000_000, 0.15 + 1.2),
        ("ok", TokenUsage(1_000_000, 0, 1), {"streamed": True}, 300_000_000, 0.15),
        ("failed", None, {"streamed": True}, 300_000_000, 0.0),
        ("client_left", None, {"kind": "stateless"}, 0, 0.0),
    ],
)
def test_a_client_has_spent_what_a_stream_that_it_leaves_has_cost_by_an_estimate(
    make: Make,
    outcome: AttemptOutcome,
    usage: TokenUsage | None,
    fields: dict[str, Any],
    answer_bytes: int,
    usd: float,
) -> None:
    books = Books(make)
    books.count(outcome, usage, answer_bytes=answer_bytes, **_of_client(**fields))
    assert books.spent.get("ci", 0.0) == pytest.approx(usd, rel=1e-5)
    paid = sum(each.paid_usd for each in books.book.unwritten().values())
    assert paid == pytest.approx(usd, rel=1e-5), "other workers learn of it from the ledger"


def test_who_has_no_key_has_no_limit_and_no_estimates(make: Make) -> None:
    books = Books(make)
    books.count("client_left", None, answer_bytes=300_000, streamed=True)
    assert (books.spent, books.book.unwritten()[KEY]) == ({}, RowSums(1, unmetered=1))
