"""What log entries mean for limits: where a request counts, from its decision over each failover to its end."""

from typing import Any

import pytest
from msgspec.structs import replace

from limpet_extproc.contract.attempt import Attempt
from limpet_extproc.contract.catalog import Limits
from limpet_extproc.contract.record import Record
from limpet_extproc.envoy.limited_requests import LimitedRequests, undecided_events
from limpet_extproc.envoy.usage import TokenUsage
from limpet_extproc.providers.limit_events import LimitEvent, RequestEnded, RequestSent

NOW = 1000.0
RECORD = Record(
    key=b"k",
    model="flash",
    identified_by="fingerprint",
    reason="first.scored",
    enforce_reason=None,
    order=("a", "b", "c"),
    ttls_s=(300.0, 60.0, 0.0),
    started_s=900.0,
    prompt_tokens=1000,
    max_providers=4,
    learn=True,
    output_tokens=400,
)
USAGE = TokenUsage(2000, 500, 100)
LIMITED = dict.fromkeys("ab", Limits(5))

FAILED_A = Attempt("a", "flash", 503, "failed", "ServerError")
FAILED_B = Attempt("b", "flash", 429, "limited", "Limited")
OK = {name: Attempt(name, "flash", 200, "ok") for name in "abc"}
RUNNING_B = Attempt("b", "flash", 0, "client_left")


class Course:
    """The events of one request's log entries."""

    def __init__(self, limited: dict[str, Limits] | None = None) -> None:
        self.events: list[LimitEvent] = []
        self._requests = LimitedRequests(lambda: LIMITED if limited is None else limited, self.events.append)

    def under_way(self, *attempts: Attempt) -> "Course":
        self._requests.under_way(RECORD, attempts)
        return self

    def ended(self, *attempts: Attempt, usage: TokenUsage | None = None, record: Record | None = RECORD) -> Any:
        self._requests.ended(record, attempts, usage, NOW)
        return self.events


def test_a_request_that_was_served_at_once_ends_with_the_tokens_that_were_reported() -> None:
    assert Course().ended(OK["a"], usage=USAGE) == [RequestEnded("a", 900.0, 700)]
    assert Course().ended(OK["a"], usage=TokenUsage(300, None, 20)) == [RequestEnded("a", 900.0, -1080)]


@pytest.mark.parametrize(
    ("attempt", "more"),
    [
        (OK["a"], 0),
        (Attempt("a", "flash", 0, "client_left"), 0),
        (Attempt("a", "flash", 200, "failed", "BrokenOff"), 0),
        (FAILED_A, -1400),
        (Attempt("a", "flash", 400, "refused", "BadRequest"), -1400),
    ],
)
def test_without_a_report_the_estimate_stands_unless_nothing_was_done(attempt: Attempt, more: int) -> None:
    assert Course().ended(attempt) == [RequestEnded("a", 900.0, more)]


def test_a_request_counts_where_it_was_served_in_the_end() -> None:
    assert Course().ended(FAILED_A, OK["b"], usage=USAGE) == [
        RequestEnded("a", 900.0, -1400),
        RequestSent("b", 900.0, 1400),
        RequestEnded("b", 900.0, 700),
    ]


def test_a_failover_is_counted_while_the_answer_still_comes_and_only_once() -> None:
    course = Course().under_way(FAILED_A, RUNNING_B)
    assert course.events == [RequestEnded("a", 900.0, -1400), RequestSent("b", 900.0, 1400)]
    course.under_way(FAILED_A, RUNNING_B)
    assert len(course.events) == 2
    assert course.ended(FAILED_A, OK["b"], usage=USAGE)[2:] == [RequestEnded("b", 900.0, 700)]


def test_after_several_failovers_each_attempt_is_one_request_there() -> None:
    course = Course().under_way(FAILED_A, RUNNING_B)
    assert course.ended(FAILED_A, FAILED_B, OK["c"], usage=USAGE)[2:] == [RequestEnded("b", 900.0, -1400)]


def test_one_that_asks_the_same_provider_twice_is_two_requests() -> None:
    again = Attempt("a", "flash", 0, "failed", "ConnectionFailed")
    assert Course().ended(again, OK["a"], usage=USAGE) == [
        RequestEnded("a", 900.0, -1400),
        RequestSent("a", 900.0, 1400),
        RequestEnded("a", 900.0, 700),
    ]


def test_a_request_that_was_never_tried_frees_its_place() -> None:
    assert Course().ended() == [RequestEnded("a", 900.0, -1400)]


def test_where_envoy_went_elsewhere_the_first_of_the_order_is_free() -> None:
    assert Course().ended(OK["b"]) == [
        RequestEnded("a", 900.0, -1400),
        RequestSent("b", 900.0, 1400),
        RequestEnded("b", 900.0),
    ]


def test_nothing_is_counted_without_limits() -> None:
    assert Course(limited={}).under_way(FAILED_A, RUNNING_B).ended(FAILED_A, OK["b"], usage=USAGE) == []
    free = replace(RECORD, order=("c", "a"))
    assert Course().ended(OK["c"], usage=USAGE, record=free) == []


def test_an_undecided_request_counts_when_it_has_ended() -> None:
    assert undecided_events((FAILED_A, OK["b"]), USAGE, LIMITED, NOW) == [
        RequestSent("a", NOW, 0),
        RequestEnded("a", NOW),
        RequestSent("b", NOW, 2100),
        RequestEnded("b", NOW),
    ]
    assert Course().ended(OK["c"], record=None) == []
