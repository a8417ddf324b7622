"""The table of requests: its pages, its filters, and what follows."""

import re

from tests.activity.store.answers import RECORDS
from tests.activity.web.people import signed_in
from tests.activity.web.texts import filled


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


def test_the_records_of_the_table_are_those_of_the_store() -> None:
    store = filled()
    assert len(re.findall("data-id=", signed_in(store).get("/activity").text)) == len(RECORDS)


def test_every_gateway_can_be_chosen() -> None:
    html = signed_in().get("/activity?gateway=gw-2").text
    assert re.findall(r'data-id="(\w+)"', html) == ["r5", "r4"]
    assert '<input name="gateway" value="gw-2"' in html
    (known,) = re.findall(r'<datalist id="gateways">(.*?)</datalist>', html)
    assert re.findall(r'value="([^"]+)"', known) == ["gw-1", "gw-2"]
