"""The overview, as a browser without script gets it."""

import re

from tests.activity.store.answers import T0, one
from tests.activity.web.people import signed_in
from tests.activity.web.texts import filled, text_of, with_records

from limpet_activity.store.in_memory import InMemoryStore
from limpet_activity.store.port import ActivityFilter
from limpet_activity.web.answers import overview
from limpet_activity.web.by_provider_view import ByProviderView, by_provider_view
from limpet_activity.web.overview_view import overview_view


def test_the_overview_in_sums() -> None:
    text = text_of(signed_in(), "/?range=1h")
    for part in ("Requests 8", "3 failed", "15 %", "1.50 k of 10.0 k tokens", "$4.25", "1 without a price", "$0.25"):
        assert part in text
    assert "Enforce would have saved $0.75 of the $2.00" in text
    assert "7 records were lost" in text


def test_enforce_may_have_cost_more() -> None:
    store = with_records(one(1, 0, provider="a", prompt_tokens=9, paid_usd=1.0, observed_usd=1.5))
    assert "Enforce would have cost $0.50 more" in text_of(signed_in(store), "/?range=1h")


def test_the_overview_of_one_model() -> None:
    text = text_of(signed_in(), "/?range=1h&model=m-small")
    assert "Requests 2" in text
    assert "model m-small" in text


def test_a_line_ends_with_the_last_whole_step() -> None:
    drawn = overview_view(overview(filled(), {"range": "1h"}, ActivityFilter(), T0 + 600)).money.svg
    assert max(float(x) for x in re.findall(r"([\d.]+),[\d.]+", drawn)) == 58.5


def test_a_line_has_the_step_that_has_begun_if_there_is_no_other() -> None:
    drawn = overview_view(overview(filled(), {"range": "24h"}, ActivityFilter(), T0 + 600)).money.svg
    assert max(float(x) for x in re.findall(r"([\d.]+),[\d.]+", drawn)) == 71.5


def drawn_by_provider(store: InMemoryStore, span: str = "1h", model: str = "") -> ByProviderView | None:
    asked = overview(store, {"range": span}, ActivityFilter(model=model), T0 + 600)
    return by_provider_view(asked, {"alpha": "c1", "beta": "c2"})


def test_each_provider_over_time() -> None:
    drawn = drawn_by_provider(filled())
    assert drawn is not None
    assert [(each.name, each.css, each.sums.requests) for each in drawn.courses] == [
        ("alpha", "c1", 3),
        ("beta", "c2", 2),
        ("gamma", "cx", 1),
    ]
    told = {chart.title: chart.summary for chart in drawn.charts}
    assert told["Requests"] == "Requests by provider in the last 1h: alpha 3, beta 2, gamma 1"
    assert told["Cached share"].endswith(": alpha 33 %, beta 7 %, gamma –")
    assert told["Paid"].endswith(": alpha $0.75, beta $3.50, gamma $0")
    assert told["Saved by staying"].endswith(": alpha $0.25, beta $0, gamma $0")
    assert [(name, [sums.requests for sums in each]) for name, each in drawn.rows] == [
        ("00:00", [1, 0, 0]),
        ("00:01", [1, 0, 0]),
        ("00:03", [0, 2, 0]),
        ("00:05", [0, 0, 1]),
        ("00:07", [1, 0, 0]),
    ]
    assert 'data-tip="00:03|beta 2"' in drawn.charts[0].chart.svg


def test_the_step_that_has_begun_is_drawn_if_there_is_no_other() -> None:
    drawn = drawn_by_provider(filled(), "24h")
    assert drawn is not None
    assert 'class="line by c1" points="71.00,66.67 72.00,66.67"' in drawn.charts[1].chart.svg
    assert drawn.charts[3].top == "$0.30"


def test_of_many_providers_those_with_most_requests_are_drawn() -> None:
    store = with_records(*(one(at, 0, provider=f"p{at % 10}") for at in range(15)), one(99, 0, provider="\u202ep9"))
    drawn = drawn_by_provider(store)
    assert drawn is not None
    assert [each.name for each in drawn.courses] == [*(f"p{at}" for at in (0, 1, 2, 3, 4, 5, 6)), "(others)"]
    assert (drawn.courses[-1].css, drawn.courses[-1].sums.requests, drawn.courses[-1].linked) == ("cx", 4, False)


def test_what_staying_cost_more_is_below_zero() -> None:
    drawn = drawn_by_provider(with_records(one(1, 0, provider="alpha", paid_usd=2.0, spread_usd=1.5)))
    assert drawn is not None
    assert (drawn.charts[3].bottom, drawn.charts[3].summary[-12:]) == ("−$0.50", "alpha −$0.50")


def test_nothing_is_drawn_where_no_provider_answered_or_only_some_requests_are_meant() -> None:
    assert drawn_by_provider(with_records(one(1, 0))) is None
    assert drawn_by_provider(filled(), model="m-large") is None


def test_the_charts_by_provider_are_on_the_page_with_their_words_and_a_table() -> None:
    html = signed_in().get("/?range=1h").text
    assert 'aria-label="Requests by provider in the last 1h: alpha 3, beta 2, gamma 1"' in html
    assert 'class="column by c' in html
    assert '<a href="/?range=1h&amp;provider=alpha">' in html
    text = text_of(signed_in(), "/?range=1h")
    assert "By provider alpha beta gamma Requests" in text
    assert "UTC alpha beta gamma 00:00 1 0 % 00:01 1 50 % 00:03 2 7 % 00:05 1 00:07 1" in text
    assert "By provider" not in text_of(signed_in(), "/?range=1h&model=m-large")
