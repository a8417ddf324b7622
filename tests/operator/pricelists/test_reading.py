"""A price list is taken for what it is, in either shape; what is no price never becomes one."""

from decimal import Decimal
from typing import Any

import pytest
from tests.operator.pricelists.samples import LITELLM, MODELS_DEV, read, remarks_of

from limpet_operator.pricelists.listed import ListedHours, ListedRates, ListedTier, UnusableListError
from limpet_operator.pricelists.reading import read_list


def _rates(*prices: str | None) -> ListedRates:
    return ListedRates(*(None if each is None else Decimal(each) for each in prices))  # type: ignore[arg-type]


_NO_HOUR = (
    "the list has no price of writes for an hour, so they count as cacheWrite: "
    "add cacheWrite1h where the vendor sells them, or import LiteLLM's list, which has it"
)


def test_models_dev() -> None:
    prices = read(MODELS_DEV)
    assert (prices.name, list(prices.providers), list(prices.providers["kelp"])) == (
        "models.dev",
        ["kelp"],
        ["kelp-large", "kelp-old"],
    )
    large = prices.providers["kelp"]["kelp-large"]
    assert large.rates == _rates("2", "10", "0.2", "2.5")
    assert large.tiers == (ListedTier(200_000, _rates("4", "15", "0.4", "5")),)
    assert large.service_tiers == {"flex": Decimal("0.5")}
    assert remarks_of(prices, "kelp-large") == [
        "a Pricing has no such price, so this is not in it: input_audio",
        _NO_HOUR,
        "the prices of mode fast are not those of a service_tier: left out",
    ]
    assert prices.providers["kelp"]["kelp-old"].tiers == (ListedTier(200_000, _rates("2", "4")),)
    assert remarks_of(prices, "kelp-plan") == [
        "costs nothing in the list, which lists also write for what they do not know: left out"
    ]
    assert remarks_of(prices, "kelp-new") == ["no price in the list: left out"]


def test_the_catalog_of_models_dev_has_the_same_inside() -> None:
    assert read({"models": {}, "providers": MODELS_DEV}) == read(MODELS_DEV)


def test_litellm() -> None:
    prices = read(LITELLM)
    assert prices.name == "LiteLLM"
    assert {name: list(models) for name, models in prices.providers.items()} == {
        "tides": ["tide-1"],
        "kelp": ["kelp-large"],
    }
    large = prices.providers["kelp"]["kelp-large"]
    assert large.rates == _rates("2", "10", "0.2", "2.5", "4")
    assert large.tiers == (ListedTier(200_000, _rates("4", "15", "0.4", "5", "9")),)
    assert large.service_tiers == {"flex": Decimal("0.5")}
    assert remarks_of(prices, "kelp-large") == [
        "a Pricing has no such price, so this is not in it: search_context_cost_per_query",
        "service_tier priority changes its prices by no one factor: left out",
    ]


def test_litellms_hours() -> None:
    tide = read(LITELLM).providers["tides"]["tide-1"]
    low, workdays, weekend = _rates("0.2", "0.8", "0.02"), ("Mon", "Tue", "Wed", "Thu", "Fri"), ("Sat", "Sun")
    assert tide.rates == _rates("0.4", "1.6", "0.04")
    assert tide.hours == (
        ListedHours(workdays, "00:00", "01:00", low),
        ListedHours(workdays, "10:00", "00:00", low),
        ListedHours(weekend, "00:00", "12:00", low),
        ListedHours(weekend, "12:00", "00:00", low),
    )
    assert remarks_of(read(LITELLM), "tide-1") == []


_EVERY_DAY = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@pytest.mark.parametrize(
    ("block", "hours"),
    [
        ({"hours_utc": "16:30-00:30"}, [(_EVERY_DAY, "16:30", "00:30")]),
        (
            {"windows": [{"hours_utc": "16:30-00:30", "weekdays": ["Fri", "saturday"]}]},
            [(("Fri", "Sat"), "16:30", "00:00"), (("Fri", "Sat"), "00:00", "00:30")],
        ),
        ({"windows": [{"hours_utc": "01:00-02:00"}]}, [(_EVERY_DAY, "01:00", "02:00")]),
        ({"hours_utc": "25:00-26:00"}, "hours that are none"),
        ({"hours_utc": 5}, "hours that are none"),
        ({"hours_utc": "05:00-05:00"}, "hours that are none"),
        ({"windows": [{"hours_utc": "01:00-02:00", "weekdays": [0, 8]}]}, "days that a Pricing can't have"),
        ({"windows": [{"hours_utc": "01:00-02:00", "weekdays": [True]}]}, "days that a Pricing can't have"),
        (
            {"weekday_timezone": "Europe/Berlin", "windows": [{"hours_utc": "01:00-02:00", "weekdays": [1]}]},
            "days that a Pricing can't have",  # its clocks change, and the hours are UTC's
        ),
        (
            {"weekday_timezone": "Mars/Base", "windows": [{"hours_utc": "01:00-02:00", "weekdays": [1]}]},
            "days that a Pricing can't have",
        ),
        ("16:30-00:30", "is no object"),
    ],
)
def test_hours_are_read_or_remarked(block: Any, hours: Any) -> None:
    model = {
        "litellm_provider": "p",
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 1e-6,
        "off_peak_pricing": block,
    }
    prices = read({"m": model})
    found = [(each.days, each.start, each.end) for each in prices.providers["p"]["m"].hours]
    if isinstance(hours, str):
        assert found == []
        assert hours in remarks_of(prices, "m")[0]
    else:
        assert (found, remarks_of(prices, "m")) == (hours, [])


def test_days_of_a_zone_whose_clocks_never_change_are_taken_with_its_hours() -> None:
    windows = [
        {"hours_utc": ["00:00-01:00", "10:00-00:00"], "weekdays": [1, 5]},
        {"hours_utc": "00:00-00:00", "weekdays": [6]},
    ]
    model = {
        "litellm_provider": "p",
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 1e-6,
        "off_peak_pricing": {"weekday_timezone": "Asia/Shanghai", "windows": windows},
    }
    found = read({"m": model}).providers["p"]["m"].hours
    assert {each.zone for each in found} == {"Asia/Shanghai"}
    assert [(each.days, each.start, each.end) for each in found] == [
        (("Mon", "Fri"), "08:00", "09:00"),
        (("Mon", "Fri"), "18:00", "00:00"),
        (("Mon", "Fri"), "00:00", "08:00"),
        (("Sat",), "00:00", "12:00"),
        (("Sat",), "12:00", "00:00"),
    ]


def test_prices_that_a_vendor_has_rounded_differ_by_one_factor() -> None:
    model = {"litellm_provider": "p", "input_cost_per_token": 7.3e-7, "output_cost_per_token": 3.03e-6}
    flex = {"input_cost_per_token_flex": 3.6e-7, "output_cost_per_token_flex": 1.52e-6}
    assert read({"m": {**model, **flex}}).providers["p"]["m"].service_tiers == {"flex": Decimal("0.4974")}


def test_litellms_ranges_are_tiers() -> None:
    tier = {"range": [0, 1000], "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
    more = {"range": [1000.0, 9000.0], "input_cost_per_token": 3e-6}
    prices = read({"m": {"litellm_provider": "p", "tiered_pricing": [tier, more, {"range": "all"}, 7]}})
    model = prices.providers["p"]["m"]
    assert (model.rates, model.tiers) == (_rates("1", "2"), (ListedTier(1000, _rates("3", "2")),))
    assert remarks_of(prices, "m") == ["a tier without a range of tokens: left out"] * 2


@pytest.mark.parametrize(
    ("cost", "left", "remark"),
    [
        ({"input": "cheap", "output": 1}, None, 'input is "cheap", which is no price: left out'),
        ({"input": -1, "output": 1}, None, 'input is "-1", which is no price: left out'),
        ({"input": True, "output": 1}, None, 'input is "True", which is no price: left out'),
        ({"input": 10_000_000, "output": 1}, None, 'input is "10000000", which is no price: left out'),
        ({"input": [1], "output": 1}, None, 'input is "[1]", which is no price: left out'),
        ({"output": 1}, None, "no price of input in the list: left out"),
        ({"input": None}, None, "no price of input and output in the list: left out"),
        ({"input": 1, "output": 2, "cache_read": "x"}, ("1", "2"), 'cache_read is "x", which is no price: left out'),
        ({"input": 1, "output": 2, "cache_read": 0}, ("1", "2"), "cache reads cost nothing in the list"),
        ({"input": 1, "output": 2, "cache_write": 0}, ("1", "2"), None),
        ({"input": "0.1", "output": 0}, ("0.1", "0"), None),
        ({"input": 0.0000000004, "output": 1}, ("0.000000001", "1"), None),
        ({"input": "9" * 3_000_000, "output": 1}, None, 'input is "9999'),
        ({"input": 10**100, "output": 1}, None, 'input is "1000'),
    ],
)
def test_what_is_no_price_is_left_out_and_said(
    cost: dict[str, Any], left: tuple[str, str] | None, remark: str | None
) -> None:
    prices = read({"p": {"models": {"m": {"cost": cost}}}})
    found = prices.providers.get("p", {}).get("m")
    assert (found.rates if found else None) == (_rates(*left) if left else None)
    remarks = remarks_of(prices, "m")
    assert remarks[0].startswith(remark) if remark else remarks == []


@pytest.mark.parametrize("price", ["NaN", "Infinity", "-Infinity"])
def test_what_json_does_not_know_is_no_price(price: str) -> None:
    prices = read_list(b'{"p": {"models": {"m": {"cost": {"input": %s, "output": 1}}}}}' % price.encode())
    assert prices.providers == {}
    assert "is no price" in remarks_of(prices, "m")[0]


def test_equal_names_with_different_prices_are_left_out_and_equal_ones_taken() -> None:
    def model(price: float) -> dict[str, Any]:
        return {"litellm_provider": "p", "input_cost_per_token": price, "output_cost_per_token": 1e-6}

    prices = read({"p/m": model(1e-6), "m": model(2e-6), "p/n": model(1e-6), "n": model(1e-6)})
    assert list(prices.providers["p"]) == ["n"]
    assert remarks_of(prices, "m") == ["stands in the list twice, once as m, and not alike: left out"]
    text = b'{"p": {"models": {"m": {"cost": {"input": 1, "output": 1}}, "m": {"cost": {"input": 2, "output": 1}}}}}'
    twice = read_list(text)
    assert (twice.providers, remarks_of(twice, "m")) == ({}, ["stands in the list twice and not alike: left out"])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not JSON"),
        (b"models: []", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no price list of a known shape: name models.dev's api.json or LiteLLM's"),
        (b"{}", "no price list of a known shape"),
        (b'{"data": [{"id": "m", "pricing": {"prompt": "1"}}]}', "no price list of a known shape"),
    ],
)
def test_another_file_is_refused_with_what_to_name(data: bytes, problem: str) -> None:
    with pytest.raises(UnusableListError, match=problem):
        read_list(data)
