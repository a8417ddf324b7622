"""Providers: how each is doing and did, and what it costs."""

import pytest
from tests.activity.store.answers import RECORDS, T0
from tests.activity.web.people import signed_in
from tests.activity.web.texts import text_of, with_records

from limpet_extproc.contract.activity import (
    ProviderReport,
    ShownPrice,
)


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
        "hit rate 33 %",
        "first token 420 ms",
        "tokens/s 62",
        "warm conversations 12",
        "night until 01:00:00 UTC",
        "m-large $0.50 $0.05 $0.60 $2.00",
        "Last error 00:07:15: broken off (200)",
    ):
        assert part in text


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


def test_when_a_provider_was_not_up_and_why() -> None:
    html = signed_in().get("/providers?range=1h").text
    assert 'class="v-down" data-tip="down: server error|00:03:00 to 00:05:00"' in html
    assert "of the time: down: server error 00:03:00 to 00:05:00" in text_of(signed_in(), "/providers?range=1h")
    assert "down: server error" not in html[html.index("</i>beta") :]
