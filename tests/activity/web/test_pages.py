"""What the pages show, as a browser without script gets them."""

import re

import msgspec
import pytest
from starlette.testclient import TestClient
from tests.activity.store.answers import RECORDS, T0, fill, one
from tests.activity.web.people import AwayStore, anonymous, bearer, signed_in

from limpet_activity.store.in_memory import InMemoryStore
from limpet_activity.store.port import ActivityFilter
from limpet_activity.web.answers import overview
from limpet_activity.web.overview_view import overview_view
from limpet_extproc.contract.activity import (
    VERSION,
    ActivityBatch,
    ActivityRecord,
    ConsideredProvider,
    ProviderReport,
    ShownPrice,
    TriedProvider,
)

PAGES = ("/", "/activity", "/activity/r3", "/activity/rows", "/conversations/c0ffee01", "/providers")


def with_records(*records: ActivityRecord, providers: tuple[ProviderReport, ...] = ()) -> InMemoryStore:
    store = InMemoryStore()
    store.take([ActivityBatch(VERSION, "gw-1", 0, 0, T0, records, providers, T0)], T0)
    return store


def filled() -> InMemoryStore:
    store = InMemoryStore()
    fill(store)
    return store


def text_of(client: TestClient, path: str, status: int = 200) -> str:
    """What a person reads, without markup."""
    answer = client.get(path)
    assert answer.status_code == status
    plain = re.sub(r"<[^>]+>", " ", re.sub(r"<(svg|script|style).*?</\1>", "", answer.text, flags=re.DOTALL))
    return re.sub(r"\s+", " ", plain).replace(" :", ":")


@pytest.mark.parametrize("path", PAGES)
def test_pages_hold_no_code_of_their_own(path: str) -> None:
    html = signed_in().get(path).text
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html)
    assert all('src="/static/' in script for script in re.findall(r"<script[^>]*>", html))


@pytest.mark.parametrize("name", ["page.css", "page.js", "theme.js", "limpet.svg"])
def test_what_pages_need_is_in_the_package(name: str) -> None:
    assert anonymous().get(f"/static/{name}").status_code == 200


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


@pytest.mark.parametrize("path", ["/", "/activity", "/providers"])
def test_nothing_has_come_yet(path: str) -> None:
    assert "No " in text_of(signed_in(InMemoryStore()), path)


def test_the_table_has_the_newest_first_and_pages_by_key() -> None:
    client = signed_in()
    first = client.get("/activity?limit=3").text
    assert re.findall(r'data-id="(\w+)"', first) == ["r8", "r7", "r6"]
    (older,) = re.findall(r'href="([^"]+)" rel="next"', first)
    second = client.get(older.replace("&amp;", "&")).text
    assert re.findall(r'data-id="(\w+)"', second) == ["r5", "r4", "r3"]
    assert "data-rows" not in second, "only the newest page follows"
    (newer,) = re.findall(r'href="([^"]+)" rel="prev"', second)
    assert re.findall(r'data-id="(\w+)"', client.get(newer.replace("&amp;", "&")).text) == ["r8", "r7", "r6"]


def test_filters_are_in_the_address_and_each_can_be_removed() -> None:
    html = signed_in().get("/activity?provider=alpha&failed=no&reason=sticky.").text
    assert re.findall(r'data-id="(\w+)"', html) == ["r3", "r2"]
    assert 'href="/activity?failed=no&amp;reason=sticky."' in html
    assert 'value="alpha"' in html
    assert re.search(r'<option value="sticky\." selected>', html)


def test_an_address_with_empty_fields_becomes_a_clean_one() -> None:
    answer = signed_in().get("/activity?provider=&model=m-large&cause=", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/activity?model=m-large")


def test_what_came_in_since() -> None:
    html = signed_in().get("/activity/rows?after=6&provider=").text
    assert re.findall(r'data-id="(\w+)"', html) == ["r5", "r4"]
    assert 'data-last="8"' in html


def test_a_record_in_sentences() -> None:
    record = msgspec.structs.replace(
        RECORDS[2],
        streamed=True,
        first_byte_s=0.42,
        written_tokens=2000,
        reasoning_tokens=30,
        expected_tokens=2048,
        uncached_usd=2.0,
        spread_usd=1.75,
        cheapest_usd=1.0,
        considered=(
            ConsideredProvider("beta", "", 0, 1.5, T0 + 600),
            ConsideredProvider("gamma", "", 12, 1.75, 0.0),
            ConsideredProvider("alpha", "down"),
        ),
    )
    text = text_of(signed_in(with_records(record)), "/activity/r3")
    for part in (
        "beta answered after alpha did not: 1.0 s in all, 420 ms to the first token.",
        "The warm provider was down. But alpha failed with 500 (server error), so beta answered. sticky.left.down",
        "Another provider had served the last turn",
        "written to the cache 2,000",
        "neither 1,000",
        "100 30 of them reasoning",
        "0 were expected",
        "paid $1.50",
        "without a cache $2.00",
        "not sticky $1.75",
        "always cheapest $1.00",
        "The cache saved $0.50 (25 %)",
        "gamma 12 $1.75",
        "is down",
        "alpha failed: server error 500",
        "beta answered 200",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("record", "part"),
    [
        (RECORDS[3], "Enforce would have sent it to gamma and saved $0.75: The conversation was expected"),
        (RECORDS[5], "No provider was asked"),
        (one(9, 0, reason="answered.models"), "The gateway answered itself: 1.0 s in all."),
        (RECORDS[5], "messages: missing"),
        (RECORDS[6], "broke off"),
        (RECORDS[7], "client left"),
        (RECORDS[7], "No provider answered: 1 tried"),
        (one(9, 0, reason="", status=0), "Why it went there is not known."),
        (one(9, 0, paid_usd=2.0, uncached_usd=1.5), "Writing to the cache cost $0.50 more than it saved"),
    ],
)
def test_records_that_ended_otherwise(record: ActivityRecord, part: str) -> None:
    assert part in text_of(signed_in(with_records(record)), f"/activity/{record.id}")


def test_a_conversation_turn_by_turn() -> None:
    text = text_of(signed_in(), "/conversations/c0ffee01")
    assert "3 turns" in text
    assert "1 switch " in text
    assert "turn 3 alpha → beta" in text
    assert "It went to alpha again, but alpha failed with 500 (server error), so beta answered." in text
    assert "No cache is known to keep it." in text


def test_a_turn_that_failed_over_did_not_stay() -> None:
    tried = (TriedProvider("alpha", "failed", 503, "ServerError"), TriedProvider("beta", "ok", 200))
    kept = one(1, 0, conversation="c0", provider="alpha", reason="first.scored")
    moved = one(2, 1, conversation="c0", provider="beta", reason="sticky.hit", attempts=tried)
    client = signed_in(with_records(kept, moved))
    told = " cache. But alpha failed with 503 (server error), so beta answered. sticky.hit"
    assert told in text_of(client, "/activity/r2")
    assert "It went to alpha again, but alpha failed with 503 (server error)" in text_of(client, "/conversations/c0")


@pytest.mark.parametrize(
    ("provider", "enforce_provider", "observed_usd", "told"),
    [
        ("beta", "alpha", 1.5, "Enforce would have sent it to alpha and cost $0.50 more: The prompt was shorter"),
        ("beta", "alpha", 1.0, "Enforce would have sent it to alpha: The prompt was shorter"),
        ("beta", "beta", 1.0, "Enforce would have sent it to beta too: The prompt was shorter"),
        ("beta", "alpha", None, "Enforce would have sent it to alpha: The prompt was shorter"),
        ("beta", "", 0.5, "Enforce would have decided otherwise and saved $0.50: The prompt was shorter"),
    ],
)
def test_where_enforce_would_have_sent_it(
    provider: str, enforce_provider: str, observed_usd: float | None, told: str
) -> None:
    record = one(
        1,
        0,
        reason="observe.spread",
        enforce_reason="unsticky.below_minimum",
        provider=provider,
        enforce_provider=enforce_provider,
        paid_usd=1.0,
        observed_usd=observed_usd,
    )
    assert told in text_of(signed_in(with_records(record)), "/activity/r1")


def test_what_was_not_reported_is_no_zero() -> None:
    record = one(1, 0, provider="alpha", prompt_tokens=3890, cached_tokens=0, output_tokens=1)
    text = text_of(signed_in(with_records(record)), "/activity/r1")
    assert "read from the cache 0 written to the cache not reported not read from it 3,890" in text
    text = text_of(signed_in(with_records(msgspec.structs.replace(record, cached_tokens=None))), "/activity/r1")
    assert "read from the cache not reported written to the cache not reported the rest of the prompt 3,890" in text


def test_who_answered_nothing_is_called_alike_everywhere() -> None:
    store = with_records(one(1, 0, reason="answered.models"), one(2, 1, reason="refused.origin", conversation="c0"))
    for path in ("/?range=1h", "/activity", "/conversations/c0"):
        text = text_of(signed_in(store), path)
        assert "no provider" in text
        assert "nobody" not in text.replace("refused.nobody_left", "")


@pytest.mark.parametrize("path", ["/?range=1h", "/providers?range=1h"])
def test_savings_say_by_what(path: str) -> None:
    assert "paid saved by staying" in re.sub(r"\$[\d.]+ ", "", text_of(signed_in(), path))


def test_where_a_conversation_is_warm() -> None:
    store = with_records(
        *(
            one(
                number,
                number,
                conversation="c0",
                provider=provider,
                prompt_tokens=1000 * number,
                considered=(ConsideredProvider(provider, "", 0, 0.1, T0 + until_s),),
            )
            for number, provider, until_s in ((1, "alpha", 300.0), (2, "beta", 900.0), (3, "alpha", 1200.0))
        )
    )
    text = text_of(signed_in(store), "/conversations/c0")
    assert "alpha 3,000 tokens until 00:20:00 (in 10 min) beta 2,000 tokens until 00:15:00 (in 5 min)" in text


def test_providers_with_what_is_known_of_them() -> None:
    report = ProviderReport(
        "alpha",
        "degraded",
        "SlowFirstByte",
        T0 + 60,
        draining=True,
        first_token_s=0.42,
        tokens_per_s=61.5,
        warm_conversations=12,
        prices=[ShownPrice("m-large", 0.5, 2.0, 0.05, 0.6, "night", T0 + 3600)],
    )
    text = text_of(signed_in(with_records(*RECORDS, providers=(report,))), "/providers?range=1h")
    for part in (
        "alpha degraded slow first byte since 00:01:00 draining",
        "requests 3",
        "cached 33 %",
        "first token 420 ms",
        "tokens/s 62",
        "warm conversations 12",
        "night until 01:00:00 UTC",
        "m-large $0.50 $0.05 $0.60 $2.00",
        "Last error 00:07:15: broken off (200)",
    ):
        assert part in text


@pytest.mark.parametrize("path", ["/activity/nothing", "/conversations/00", "/nothing", "/static/nothing.js"])
def test_what_is_not_there_is_a_page_that_says_so(path: str) -> None:
    answer = signed_in().get(path)
    assert answer.status_code == 404
    assert "<h1>" in answer.text


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("reason=foo", "reason"),
        ("reason=sticky", "reason"),
        ("cause=%3Cscript%3E", "cause"),
        ("conversation=xyz", "conversation"),
        ("conversation=%25", "conversation"),
        ("since=yesterday", "since"),
        ("since=99999999999d", "since"),
        ("since=9999-99-99T00:00", "since"),
        ("since=0001-01-01T00:00", "since"),
        ("until=1969-01-01", "until"),
        ("since=1h&until=2h", "until"),
        ("failed=maybe", "failed"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=²", "limit"),
        ("older=1", "older"),
        ("older=nan~r1", "older"),
        ("older=1~r1&newer=1~r1", "newer"),
        ("color=red", "color"),
        ("model=a&model=b", "model"),
        ("model=" + "a" * 301, "model"),
    ],
)
def test_nonsense_in_an_address_is_named(query: str, parameter: str) -> None:
    page = signed_in().get(f"/activity?{query}")
    assert page.status_code == 400
    assert f"“{parameter}” is not understood" in page.text
    answer = bearer().get(f"/api/activity?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == parameter


@pytest.mark.parametrize("path", ["/?range=2h", "/providers?range=all", "/activity/rows?after=-1", "/activity/r1?a=b"])
def test_nonsense_on_other_pages(path: str) -> None:
    assert "is not understood" in text_of(signed_in(), path, 400)


ODD = '"><img src=x onerror=alert(1)><script>alert(2)</script>{{ 7*7 }}'


def test_what_clients_and_vendors_write_is_text() -> None:
    record = one(
        1,
        0,
        model=ODD,
        error=ODD,
        provider=ODD,
        client=ODD,
        policy=ODD,
        path=ODD,
        cause="hit",
        reason=ODD,
        conversation="c0",
        prompt_tokens=9,
        cached_tokens=3,
        attempts=(TriedProvider(ODD, "failed", 500, "ServerError"), TriedProvider(ODD, "ok")),
        considered=(ConsideredProvider(ODD, ODD),),
    )
    report = ProviderReport(ODD, ODD, prices=[ShownPrice(ODD, 1, 1, 1, 1, ODD)])
    odd_id = msgspec.structs.replace(record, id=ODD)
    store = with_records(record, odd_id, providers=(report,))
    for path in ("/?range=1h", "/activity", "/activity/r1", "/conversations/c0", "/providers", "/activity/rows"):
        html = signed_in(store).get(path).text
        assert "&lt;script&gt;" in html
        assert "<img src=x" not in html
        assert "<script>" not in html
        assert ">49" not in html
    assert "<script>" not in signed_in(store).get("/activity", params={"model": ODD}).text
    assert "<script>" not in signed_in(store).get("/activity", params={ODD: ODD}).text
    assert "<script>" not in anonymous().get("/activity", params={"model": ODD}).text


def test_ten_thousand_models_make_no_long_page() -> None:
    store = with_records(*(one(number, number / 3000, model=f"model-{number}") for number in range(10_000)))
    html = signed_in(store).get("/?range=1h").text
    assert "(others)" in html
    assert len(html) < 100_000
    assert len(signed_in(store).get("/activity").text) < 200_000


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1e300, 1e300])
def test_absurd_numbers_break_no_page(number: float) -> None:
    record = one(
        1,
        0,
        conversation="c0",
        provider="alpha",
        duration_s=number,
        first_byte_s=number,
        prompt_tokens=2**63,
        cached_tokens=-(2**63),
        output_tokens=10**30,
        paid_usd=number,
        uncached_usd=number,
        considered=(ConsideredProvider("alpha", "", 5, number, number),),
        attempts=(TriedProvider("alpha", "ok", 2**31, "", number, number),),
    )
    report = ProviderReport("alpha", "up", "", number, False, number, number, 3)
    store = with_records(record, providers=(report,))
    for path in ("/?range=1h", "/activity", "/activity/r1", "/conversations/c0", "/providers", "/api/overview"):
        assert signed_in(store).get(path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/activity", "/activity/r1", "/activity/rows", "/conversations/c0", "/providers"]
)
def test_a_store_that_does_not_answer(path: str) -> None:
    text = text_of(signed_in(AwayStore()), path, 503)
    assert "The store does not answer" in text
    assert "the database is away" in text


@pytest.mark.parametrize(
    "path", ["activity", "activity?after=1", "records/r1", "conversations/c0", "overview", "providers", "state"]
)
def test_programs_are_told_too(path: str) -> None:
    answer = bearer(AwayStore()).get(f"/api/{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "store_away")


def test_signing_in_needs_no_store() -> None:
    assert anonymous(store=AwayStore()).get("/").status_code == 401


def test_the_records_of_the_table_are_those_of_the_store() -> None:
    store = filled()
    assert len(re.findall("data-id=", signed_in(store).get("/activity").text)) == len(RECORDS)


def test_a_line_ends_with_the_last_whole_step() -> None:
    drawn = overview_view(overview(filled(), {"range": "1h"}, ActivityFilter(), T0 + 600)).money.svg
    assert max(float(x) for x in re.findall(r"([\d.]+),[\d.]+", drawn)) == 58.5


def test_a_line_has_the_step_that_has_begun_if_there_is_no_other() -> None:
    drawn = overview_view(overview(filled(), {"range": "24h"}, ActivityFilter(), T0 + 600)).money.svg
    assert max(float(x) for x in re.findall(r"([\d.]+),[\d.]+", drawn)) == 71.5


@pytest.mark.parametrize(
    ("gateway", "told"),
    [
        ("gw-1", "not up for 40.0 % of the time"),
        ("gw-2", "up as long as it is known here; last heard of 9 min 40 s ago"),
    ],
)
def test_how_long_a_provider_was_not_up(gateway: str, told: str) -> None:
    alpha = text_of(signed_in(), "/providers?range=1h").partition(" beta up ")[0]
    assert told in alpha[alpha.index(gateway) :]
