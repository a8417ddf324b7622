"""Addresses, texts and numbers that nobody meant."""

import html
import re
from urllib.parse import quote

import httpx
import msgspec
import pytest
from tests.activity.store.answers import T0, one
from tests.activity.web.people import TOKEN, Clock, anonymous, bearer, signed_in
from tests.activity.web.serving import on_loopback
from tests.activity.web.texts import text_of, with_records

from limpet_activity.web.app import web_app
from limpet_activity.web.guard import after_sign_in
from limpet_activity.web.settings import PageSettings
from limpet_extproc.contract.activity import (
    ConsideredProvider,
    ProviderReport,
    ShownPrice,
    TriedProvider,
)


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
        page = signed_in(store).get(path).text
        assert "&lt;script&gt;" in page
        assert "<img src=x" not in page
        assert "<script>" not in page
        assert ">49" not in page
    assert "<script>" not in signed_in(store).get("/activity", params={"model": ODD}).text
    assert "<script>" not in signed_in(store).get("/activity", params={ODD: ODD}).text
    assert "<script>" not in anonymous().get("/activity", params={"model": ODD}).text


def test_ten_thousand_models_make_no_long_page() -> None:
    store = with_records(*(one(number, number / 3000, model=f"model-{number}") for number in range(10_000)))
    page = signed_in(store).get("/?range=1h").text
    assert "(others)" in page
    assert len(page) < 100_000
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


@pytest.mark.parametrize("record_id", ["a/b", "a/rows", "a//b", "/", "a?b#c", "a b", "ä\u202e", "a;b", "&=+'"])
def test_whatever_an_id_is_made_of_its_link_leads_to_its_record(record_id: str) -> None:
    store = with_records(msgspec.structs.replace(one(1, 0, model="m", conversation=record_id), id=record_id))
    client = signed_in(store)
    (href,) = re.findall(r'data-href="([^"]+)"', client.get("/activity").text)
    page = client.get(html.unescape(href))
    assert page.status_code == 200
    (conversation,) = re.findall(r'href="(/conversations/[^"]+)"', page.text)
    assert client.get(html.unescape(conversation)).status_code == 200
    assert bearer(store).get("/api/records/" + href.removeprefix("/activity/")).json()["id"] == record_id
    assert bearer(store).get("/api" + conversation).json()["conversation"] == record_id
    asked = anonymous(store=store).get(html.unescape(href))
    (goal,) = re.findall(r'name="next" value="([^"]+)"', asked.text)
    assert client.get(after_sign_in(html.unescape(goal))).text.count("<h1") == 1
    assert client.get(after_sign_in(html.unescape(goal))).status_code == 200


def test_an_escape_in_an_id_is_kept_as_it_is() -> None:
    # Over a connection: the client for tests would read it twice.
    store = with_records(msgspec.structs.replace(one(1, 0), id="a%2Fb"))
    headers = {"authorization": f"Bearer {TOKEN}"}
    with (
        on_loopback(web_app(store, PageSettings(TOKEN), Clock(T0))) as address,
        httpx.Client(base_url=address, headers=headers) as client,
    ):
        (href,) = re.findall(r'data-href="([^"]+)"', client.get("/activity").text)
        assert client.get(href).status_code == 200


BIDI = "abc\u202egpj.exe\u2066\u200b\x9b\x00"


def test_no_character_turns_others_around_or_is_unseen() -> None:
    record = one(
        1,
        0,
        model=BIDI,
        error=BIDI,
        provider=BIDI,
        client=BIDI,
        path=BIDI,
        reason=BIDI,
        cause=BIDI,
        conversation="c0",
        gateway=BIDI,
        attempts=(TriedProvider(BIDI, "failed", 500, "ServerError"),),
        considered=(ConsideredProvider(BIDI, BIDI),),
    )
    report = ProviderReport(BIDI, BIDI, prices=[ShownPrice(BIDI, 1, 1, 1, 1, BIDI)])
    client = signed_in(with_records(record, providers=(report,)))
    for path in (
        "/?range=1h",
        "/activity/r1",
        "/conversations/c0",
        "/providers",
        "/activity/rows",
        "/activity/" + quote(BIDI),
    ):
        page = client.get(path).text
        assert "abc\\u202egpj.exe\\u2066\\u200b\\x9b\\x00" in page
        assert not re.search("[\x00-\x08\x7f-\x9f\u200b\u202e\u2066]", page), path


def test_a_field_of_the_form_keeps_what_was_asked_for() -> None:
    assert 'name="model" value="abc\u202e"' in signed_in().get("/activity", params={"model": "abc\u202e"}).text
