"""The pages in a real Chromium: what people do with them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect
from tests.activity.web.chromium import NOW_S, ServedPage, Visitor, chromium, served, visiting
from tests.activity.web.people import TOKEN

from limpet_activity.store.port import ActivityFilter
from limpet_extproc.contract.activity import VERSION, ActivityBatch, ActivityRecord, TriedProvider

pytestmark = pytest.mark.slow

expect.set_options(timeout=60_000)
IMAGES: Final = Path(__file__).parents[3] / "docs" / "images"
MOST_BYTES: Final = 200_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def site() -> Iterator[ServedPage]:
    with served(conversations=140) as started:
        yield started


def moved(site: ServedPage) -> ActivityRecord:
    """A request that a second provider answered, of a conversation with many turns."""
    records = site.store.page(ActivityFilter(reason="sticky.left.down", cause="provider_switched"), None, 100).records
    return max(records, key=lambda record: len(site.store.turns(record.conversation, 100)))


def comes_in(site: ServedPage, record_id: str) -> None:
    record = ActivityRecord(
        record_id,
        NOW_S + 1,
        "gateway-0",
        "sticky.hit",
        200,
        1.0,
        model="brand-new",
        provider="novita",
        attempts=(TriedProvider("novita", "ok", 200),),
    )
    site.store.take([ActivityBatch(VERSION, "gateway-0", 0, 0, NOW_S, [record])], NOW_S)


def paths(site: ServedPage) -> dict[str, str]:
    record = moved(site)
    return {
        "overview": "/",
        "activity": "/activity?limit=15",
        "filtered": "/activity?provider=novita&reason=sticky.&since=6h&limit=15",
        "record": f"/activity/{record.id}",
        "conversation": f"/conversations/{record.conversation}",
        "providers": "/providers",
        "nonsense": "/activity?reason=foo",
        "nothing": "/nothing",
    }


PAGES: Final = ("overview", "activity", "filtered", "record", "conversation", "providers", "nonsense", "nothing")


AXE: Final = Axe()
VIOLATIONS: Final = {"resultTypes": ["violations"]}
CONTRAST: Final = {**VIOLATIONS, "runOnly": ["color-contrast"]}
"""What a scheme of colours can break."""
NO_PICTURES: Final = {"exclude": [[".plot"]]}
"""Without what readers of the page are not shown: a chart is one image with a text to them."""


def violations(visitor: Visitor, within: object = NO_PICTURES, what: dict[str, list[str]] = VIOLATIONS) -> str:
    results = AXE.run(visitor.page, within, what)
    return str(results.generate_report()) if results.violations_count else ""


def in_dark(visitor: Visitor, within: object = NO_PICTURES) -> str:
    visitor.page.emulate_media(color_scheme="dark")
    return violations(visitor, within, CONTRAST)


@pytest.mark.parametrize("name", PAGES)
def test_everybody_can_read_it(browser: Browser, site: ServedPage, name: str) -> None:
    with visiting(browser, site, color_scheme="light", reduced_motion="reduce") as visitor:
        visitor.goes_to(paths(site)[name])
        assert violations(visitor) == ""
        assert in_dark(visitor) == ""
        visitor.page.set_viewport_size({"width": 320, "height": 640})
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= 320, "a phone scrolls it sideways"
        assert violations(visitor) == ""


def test_everybody_can_read_the_flyout(browser: Browser, site: ServedPage) -> None:
    with visiting(browser, site, color_scheme="light", reduced_motion="reduce") as visitor:
        visitor.goes_to("/activity?reason=sticky.left.down")
        visitor.page.locator("tr[data-href]").first.click()
        expect(visitor.page.locator("dialog[open] #record")).to_be_visible()
        assert violations(visitor) == ""
        assert in_dark(visitor) == ""


def test_everybody_can_read_the_form_and_the_charts_as_tables(browser: Browser, site: ServedPage) -> None:
    with visiting(browser, site, signed_in=False, color_scheme="light") as visitor:
        visitor.goes_to("/?range=6h")
        visitor.page.get_by_label("Token").fill("wrong")
        visitor.page.get_by_role("button", name="Sign in").click()
        expect(visitor.page.get_by_role("alert")).to_have_text("That is not the token.")
        assert violations(visitor) == ""
        assert in_dark(visitor) == ""
        visitor.page.get_by_label("Token").fill(TOKEN)
        visitor.page.keyboard.press("Enter")
        visitor.page.get_by_text("The charts as a table").click()
        expect(visitor.page.get_by_role("region", name="Requests and cached share by provider")).to_be_visible()
        assert violations(visitor, "#numbers") == ""
        assert in_dark(visitor, "#numbers") == ""


def test_signing_in_and_out(browser: Browser, site: ServedPage) -> None:
    with visiting(browser, site, signed_in=False) as visitor:
        visitor.goes_to("/activity?model=kimi-k2")
        visitor.page.get_by_label("Token").fill(TOKEN)
        visitor.page.keyboard.press("Enter")
        expect(visitor.page).to_have_url(f"{site.address}/activity?model=kimi-k2")
        assert TOKEN not in visitor.page.content()
        visitor.page.get_by_role("button", name="Sign out").click()
        expect(visitor.page.get_by_label("Token")).to_be_visible()
        visitor.goes_to("/activity")
        expect(visitor.page.get_by_label("Token")).to_be_visible()


def test_a_link_signs_in_once_and_leaves_no_token_in_the_address(browser: Browser, site: ServedPage) -> None:
    with visiting(browser, site, signed_in=False) as visitor:
        visitor.goes_to(f"/providers?range=1h&token={TOKEN}")
        expect(visitor.page).to_have_url(f"{site.address}/providers?range=1h")
        (cookie,) = visitor.page.context.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert TOKEN not in cookie["value"]


def test_filters_end_up_in_a_short_address(browser: Browser, site: ServedPage) -> None:
    with visiting(browser, site) as visitor:
        page = visitor.page
        visitor.goes_to("/activity")
        page.get_by_text("Filter", exact=True).click()
        page.get_by_label("Model", exact=True).fill("kimi-k2")
        page.get_by_label("Cause").select_option("cold_start")
        page.get_by_role("button", name="Apply").click()
        expect(page).to_have_url(f"{site.address}/activity?model=kimi-k2&cause=cold_start")
        expect(page.locator("tbody td.cause").first).to_have_text("cold_start")
        page.get_by_role("link", name="cause cold_start").click()
        expect(page).to_have_url(f"{site.address}/activity?model=kimi-k2")
        page.go_back()
        expect(page.get_by_label("Cause")).to_have_value("cold_start")


def test_older_and_newer(browser: Browser, site: ServedPage) -> None:
    with visiting(browser, site) as visitor:
        page = visitor.page
        visitor.goes_to("/activity?model=kimi-k2&limit=10")
        first = page.locator("tr[data-id]").first.get_attribute("data-id")
        page.get_by_role("link", name="Older").click()
        expect(page.locator(f'tr[data-id="{first}"]')).to_have_count(0)
        page.get_by_role("link", name="Newer").click()
        expect(page.locator("tr[data-id]").first).to_have_attribute("data-id", first or "")


def test_a_click_on_a_row_opens_its_record(browser: Browser, site: ServedPage) -> None:
    with visiting(browser, site) as visitor:
        page = visitor.page
        visitor.goes_to("/activity?reason=sticky.left.down")
        page.locator("tr[data-href] td.model").nth(1).click()
        flyout = page.get_by_role("dialog")
        expect(flyout.get_by_text("The warm provider was down.").first).to_be_visible()
        expect(flyout.get_by_text("failed: overloaded")).to_be_visible()
        flyout.get_by_role("button", name="Close").click()
        expect(flyout).to_have_count(0)
        expect(page.locator("tr[data-href]").nth(1).locator("a")).to_be_focused()


def test_the_keyboard_is_enough(browser: Browser, site: ServedPage) -> None:
    with visiting(browser, site) as visitor:
        page = visitor.page
        visitor.goes_to("/activity?reason=sticky.left.down")
        links = page.locator("tr[data-href] a")
        links.nth(0).focus()
        page.keyboard.press("Tab")
        expect(links.nth(1)).to_be_focused()
        page.keyboard.press("Enter")
        flyout = page.locator("#flyout")
        second, third = (page.locator("tr[data-href]").nth(at).get_attribute("data-href") for at in (1, 2))
        expect(flyout).to_have_attribute("data-href", second or "")
        page.keyboard.press("ArrowDown")
        expect(flyout).to_have_attribute("data-href", third or "")
        page.keyboard.press("Escape")
        expect(flyout).not_to_have_attribute("open", "")
        expect(links.nth(2)).to_be_focused()


def test_without_script_a_row_leads_to_its_page(browser: Browser, site: ServedPage) -> None:
    with visiting(browser, site, java_script_enabled=False) as visitor:
        page = visitor.page
        visitor.goes_to("/activity?reason=sticky.left.down")
        page.locator("tr[data-href] a").first.click()
        expect(page.get_by_role("heading", name="Candidates")).to_be_visible()


def test_new_requests_appear_unless_the_table_is_paused(browser: Browser, site: ServedPage) -> None:
    with visiting(browser, site) as visitor:
        page = visitor.page
        visitor.goes_to("/activity")
        comes_in(site, "new-1")
        expect(page.locator("tr[data-id]").first).to_have_attribute("data-id", "new-1")
        page.get_by_role("button", name="Pause").click()
        resume = page.get_by_role("button", name="Resume")
        expect(resume).to_have_attribute("aria-pressed", "true")
        comes_in(site, "new-2")
        with page.expect_response("**/activity/rows*"):
            expect(page.locator('tr[data-id="new-2"]')).to_have_count(0)
            resume.click()
        expect(page.locator("tr[data-id]").first).to_have_attribute("data-id", "new-2")
        expect(page.locator("tr[data-id]")).to_have_count(50)


def test_the_table_follows_its_filter_alone(browser: Browser, site: ServedPage) -> None:
    with visiting(browser, site) as visitor:
        visitor.goes_to("/activity?model=brand-new&provider=novita")
        before = visitor.page.locator("tr[data-id]").count()
        comes_in(site, "new-3")
        expect(visitor.page.locator("tr[data-id]")).to_have_count(before + 1)


def test_the_overview_follows(browser: Browser, site: ServedPage) -> None:
    with visiting(browser, site) as visitor:
        visitor.goes_to("/")
        requests = visitor.page.locator(".tile .figure").first
        before = int(requests.inner_text().replace(",", ""))
        comes_in(site, "new-4")
        expect(requests).to_have_text(f"{before + 1:,}")


def test_a_chart_says_what_a_step_was_and_a_span_what_it_is(browser: Browser, site: ServedPage) -> None:
    with visiting(browser, site) as visitor:
        tip = visitor.page.locator(".tip")
        visitor.goes_to("/")
        visitor.page.locator(".plotted").first.hover()
        expect(tip).to_contain_text("without a cache")
        visitor.page.get_by_role("img", name="Requests by provider in the last 24h: ").hover()
        expect(tip).to_contain_text("novita")
        visitor.page.locator("#over-time").get_by_role("link", name="novita").click()
        expect(visitor.page).to_have_url(f"{site.address}/?provider=novita")
        visitor.goes_to("/providers")
        visitor.page.locator(".spans .v-down").first.hover()
        expect(tip).to_contain_text("down: overloaded")


def test_a_theme_that_is_chosen_stays(browser: Browser, site: ServedPage) -> None:
    with visiting(browser, site, color_scheme="light") as visitor:
        page = visitor.page
        visitor.goes_to("/providers")
        ground = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(ground)
        page.get_by_role("button", name="Dark").click()
        dark = page.evaluate(ground)
        assert dark != light
        visitor.goes_to("/activity?limit=1")
        assert page.evaluate(ground) == dark
        page.get_by_role("button", name="Light").click()
        assert page.evaluate(ground) == light


@pytest.fixture(scope="module")
def untouched() -> Iterator[ServedPage]:
    with served(conversations=260) as started:
        yield started


def _pictured(site: ServedPage, name: str) -> str:
    return {"activity": "/activity", "flyout": "/activity?reason=sticky.&since=24h"}.get(name) or paths(site)[name]


@pytest.mark.parametrize("name", ["overview", "activity", "flyout", "conversation", "providers"])
def test_pictures_for_the_documentation(browser: Browser, untouched: ServedPage, name: str, tmp_path: Path) -> None:
    # Into the documentation on request alone, as they differ a little from machine to machine.
    folder = IMAGES if "LIMPET_PICTURES" in os.environ else tmp_path
    with visiting(browser, untouched, color_scheme="light", reduced_motion="reduce", width=1200, height=720) as visitor:
        visitor.goes_to(_pictured(untouched, name))
        if name == "flyout":
            visitor.page.locator("tr[data-href]", has_text="98 %").nth(2).click()
            expect(visitor.page.locator("dialog[open] #record")).to_be_visible()
        _take(visitor, folder / f"{name}.png")
        if name == "overview":
            visitor.page.emulate_media(color_scheme="dark")
            _take(visitor, folder / "overview-dark.png")


def _take(visitor: Visitor, file: Path) -> None:
    assert len(visitor.page.screenshot(path=file, scale="css")) < MOST_BYTES
