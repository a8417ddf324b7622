"""The `provider` object: which of its demands are known, and how a wrong one is explained."""

import json
from typing import Any

import pytest

from limpet_extproc.dialects.port import BadRequestError, ProviderObject
from limpet_extproc.dialects.provider_object import MAX_BYTES, MAX_NAMES, MAX_OBJECTS, parse_provider_object


def parsed(provider: Any) -> ProviderObject | None:
    return parse_provider_object(json.dumps(provider).encode())


@pytest.mark.parametrize(
    ("provider", "provider_object"),
    [
        (None, None),
        ({}, ProviderObject()),
        (
            {"order": None, "only": [], "sort": None, "zdr": None, "max_price": None, "data_collection": None},
            ProviderObject(),
        ),
        ({"data_collection": "allow", "zdr": False, "max_price": {}, "quantizations": []}, ProviderObject()),
        ({"require_parameters": False, "future": None, "another": "", "one": {}}, ProviderObject()),
        ({"order": ["a", "b"], "only": ["a"], "ignore": ["c"]}, ProviderObject(("a", "b"), ("a",), ("c",))),
        ({"sort": "price"}, ProviderObject(sort="price")),
        ({"sort": {"by": "throughput", "partition": "none"}}, ProviderObject(sort="throughput")),
        ({"sort": {"by": "latency"}}, ProviderObject(sort="latency")),
        ({"sort": {}}, ProviderObject()),
        ({"allow_fallbacks": False}, ProviderObject(allow_fallbacks=False)),
        ({"max_price": {"prompt": 1, "completion": "2.5"}}, ProviderObject(max_prompt_usd=1.0, max_completion_usd=2.5)),
        ({"max_price": {"request": 1}}, ProviderObject(unsupported=("provider.max_price.request",))),
        ({"data_collection": "deny", "zdr": True}, ProviderObject(no_training=True, no_retention=True)),
        ({"quantizations": ["fp8"]}, ProviderObject(unsupported=("provider.quantizations",))),
        ({"require_parameters": True}, ProviderObject(unsupported=("provider.require_parameters",))),
        ({"carbon_budget": 3}, ProviderObject(unsupported=("provider.carbon_budget",))),
        ({"order": ["\ud83e"]}, ProviderObject(order=("?",))),
    ],
    ids=str,
)
def test_what_is_demanded_and_what_demands_nothing(provider: Any, provider_object: ProviderObject | None) -> None:
    assert parsed(provider) == provider_object


@pytest.mark.parametrize(
    ("provider", "param", "message"),
    [
        ("a", "provider", "write an object"),
        ([], "provider", "write an object"),
        ({"order": "a"}, "provider.order", 'write a list of providers\' names, not "a"'),
        ({"only": [1]}, "provider.only[0]", "write a provider's name, not 1"),
        ({"ignore": ["a"] * (MAX_NAMES + 1)}, "provider.ignore", "more than 100 names"),
        ({"sort": "best"}, "provider.sort", "one of 'price', 'latency', 'throughput'"),
        ({"sort": ["price"]}, "provider.sort", "one of 'price', 'latency', 'throughput'"),
        ({"sort": {"by": "best"}}, "provider.sort.by", "'throughput'"),
        ({"sort": {"by": "price", "partition": "x"}}, "provider.sort.partition", "'model' or 'none'"),
        ({"sort": {"buy": "price"}}, "provider.sort", "under 'by'"),
        ({"allow_fallbacks": 0}, "provider.allow_fallbacks", "write true or false, not 0"),
        ({"zdr": "yes"}, "provider.zdr", "write true or false"),
        ({"data_collection": "denied"}, "provider.data_collection", "write 'allow' or 'deny'"),
        ({"max_price": 3}, "provider.max_price", "an object with dollars per million tokens"),
        ({"max_price": {"prompt": -1}}, "provider.max_price.prompt", "dollars per million tokens"),
        ({"max_price": {"prompt": "cheap"}}, "provider.max_price.prompt", "dollars per million tokens"),
        ({"max_price": {"prompt": True}}, "provider.max_price.prompt", "dollars per million tokens"),
        ({"max_price": {"completion": float("inf")}}, "provider.max_price.completion", "dollars per million tokens"),
        ({"max_price": {"prompts": 1}}, "provider.max_price.prompts", "did you mean 'prompt'?"),
        ({"orders": ["a"]}, "provider.orders", "did you mean 'order'?"),
        ({"allow_fallback": False, "ordr": 1}, "provider.ordr", "did you mean 'order'?"),
        ({"data_colection": "deny"}, "provider.data_colection", "did you mean 'data_collection'?"),
        ({"quantization": ["fp8"]}, "provider.quantization", "did you mean 'quantizations'?"),
        ({"x": "y" * MAX_BYTES}, "provider", "longer than"),
        ({f"x{number}": 0 for number in range(MAX_NAMES + 1)}, "provider", "more than 100 fields"),
        ({"x": [{}] * MAX_OBJECTS}, "provider", "more than 100 objects"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_is_wrong_is_named_with_what_would_be_right(provider: Any, param: str, message: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        parsed(provider)
    assert caught.value.param == param
    assert message in caught.value.message
    assert len(caught.value.message) < 400


def test_a_field_that_stands_there_twice_is_named() -> None:
    with pytest.raises(BadRequestError) as caught:
        parse_provider_object(b'{"only":["a"],"only":["b"]}')
    assert (caught.value.param, caught.value.message) == (
        "provider.only",
        "'provider' has the key 'only' more than once",
    )


def test_only_the_first_of_many_unknown_fields_are_compared_with_those_that_are_known() -> None:
    many = {f"{'x' * number}allow": 1 for number in range(20, 40)}
    provider_object = parsed({**many, "ordr": ["a"]})
    assert provider_object is not None
    assert provider_object.unsupported[-1] == "provider.ordr"


def test_deep_nesting_and_endless_numbers_are_no_fault_of_ours() -> None:
    assert parse_provider_object(b'{"max_price":null,"x":' + b"9" * 5000 + b"}") == ProviderObject(
        unsupported=("provider.x",)
    )
    with pytest.raises(BadRequestError, match="nested too deeply"):
        parse_provider_object(b'{"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}")
