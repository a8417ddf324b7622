"""What a probe sends, and what it costs."""

import json
from typing import Any

import pytest
from tests.operator.conftest import Build

from limpet_extproc.contract.health_stream import ProbeAnswer
from limpet_extproc.contract.prices import Price
from limpet_extproc.contract.probe_cost import cost_usd
from limpet_operator.probe.request import probe_request

PRICE = Price(input=1.0, output=10.0, cache_read=0.1, cache_write=1.0)


def test_a_get_has_a_path_and_nothing_else(build: Build) -> None:
    planned = build.plan(build.raw("Provider", credential=None), build.raw("HealthProbe", timeout="3s"))
    (probe,) = planned.probes
    request = probe_request(probe.spec, probe.targets[0], planned.providers[0].spec)
    assert (request.provider, request.method, request.path) == ("deepseek", "GET", "/v1/models")
    assert (request.body, request.timeout_s) == ("", 3.0)


@pytest.mark.parametrize(("vendor", "limit"), [("DeepSeek", "max_tokens"), ("OpenAI", "max_completion_tokens")])
def test_a_completion_is_as_short_as_its_probe_says_in_the_vendors_words(build: Build, vendor: str, limit: str) -> None:
    planned = build.plan(
        build.raw("Provider", vendor=vendor, credential=None, models=[{"name": "flash", "upstreamName": "f-4"}]),
        build.raw("HealthProbe", http=None, completion={"model": "flash", "maxTokens": 2}),
    )
    (probe,) = planned.probes
    request = probe_request(probe.spec, probe.targets[0], planned.providers[0].spec)
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert json.loads(request.body) == {"model": "f-4", "messages": [{"role": "user", "content": "ping"}], limit: 2}


@pytest.mark.parametrize(
    ("spec", "path", "body"),
    [
        (
            {"vendor": "Anthropic", "url": "https://api.anthropic.com"},
            "/v1/messages",
            {"model": "flash", "messages": [{"role": "user", "content": "ping"}], "max_tokens": 1},
        ),
        (
            {"vendor": "DeepSeek", "dialects": ["AnthropicMessages"]},
            "/anthropic/v1/messages",
            {"model": "flash", "messages": [{"role": "user", "content": "ping"}], "max_tokens": 1},
        ),
        (
            {"vendor": "OpenAI", "dialects": ["OpenAIResponses"]},
            "/v1/responses",
            {"model": "flash", "input": "ping", "max_output_tokens": 16, "store": False},
        ),
    ],
    ids=["Anthropic", "under a path of its own", "Responses"],
)
def test_a_completion_is_asked_for_in_a_dialect_that_the_provider_speaks(
    build: Build, spec: dict[str, Any], path: str, body: dict[str, Any]
) -> None:
    planned = build.plan(
        build.raw("Provider", credential=None, **spec),
        build.raw("HealthProbe", http=None, completion={"model": "flash", "maxTokens": 1}),
    )
    (probe,) = planned.probes
    request = probe_request(probe.spec, probe.targets[0], planned.providers[0].spec)
    assert (request.method, request.path, json.loads(request.body)) == ("POST", path, body)


def _answer(status: int = 200, **usage: object) -> ProbeAnswer:
    return ProbeAnswer(1, status=status, body=json.dumps({"choices": [], "usage": usage} if usage else {}))


@pytest.mark.parametrize(
    ("answer", "usd"),
    [
        (_answer(prompt_tokens=10, completion_tokens=1), 20e-6),
        (_answer(prompt_tokens=10, completion_tokens=1, prompt_tokens_details={"cached_tokens": 8}), 12.8e-6),
        (_answer(prompt_tokens=10, completion_tokens=1, prompt_tokens_details={"cached_tokens": 80}), 11e-6),
        (_answer(prompt_tokens=10, completion_tokens=1, prompt_tokens_details=None), 20e-6),
        (_answer(input_tokens=10, output_tokens=1), 20e-6),
        (_answer(429, prompt_tokens=10, completion_tokens=1), 0.0),
        (ProbeAnswer(1, failure="timeout"), 0.0),
        (_answer(), None),
        (_answer(prompt_tokens=10), None),
        (_answer(prompt_tokens=True, completion_tokens=-1), None),
        (ProbeAnswer(1, status=200, body="<html>"), None),
        (ProbeAnswer(1, status=200, body="[" * 100_000), None),
    ],
)
def test_a_completion_costs_its_tokens_and_an_unknown_cost_is_not_nothing(
    answer: ProbeAnswer, usd: float | None
) -> None:
    assert cost_usd(answer, PRICE) == (None if usd is None else pytest.approx(usd))


def test_without_a_price_the_cost_is_unknown() -> None:
    assert cost_usd(_answer(prompt_tokens=10, completion_tokens=1), None) is None
