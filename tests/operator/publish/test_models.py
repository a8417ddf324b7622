"""The models as Envoy's Lua finds them."""

import json

from tests.operator.conftest import Build

from limpet_operator.publish.models import apis_of, models, providers_of_models, table


def test_each_model_is_named_once_with_all_providers_that_serve_it(build: Build) -> None:
    made = build.plan(*(build.raw("Provider", name) for name in ("beta", "alpha")), build.secret())
    ((name, described),) = models(made.providers).items()
    assert json.loads(described) == {"id": name, "object": "model", "created": 0, "owned_by": "alpha, beta"}


def test_without_a_decision_a_draining_provider_comes_last(build: Build) -> None:
    drains = {"alpha": True, "beta": False, "gamma": True, "delta": False}
    raws = (build.raw("Provider", name, drain=drain) for name, drain in drains.items())
    made = build.plan(*raws, build.secret())
    assert [*providers_of_models(made.providers, 3).values()] == ["beta delta alpha"]


def test_a_name_cannot_stand_for_a_line_of_the_table() -> None:
    assert table({"a": "p", "x\n=gpt\nevil": "q", "50%": "r", "ü\0": "s"}) == (
        "\n=a\np\n=x%0A=gpt%0Aevil\nq\n=50%25\nr\n=ü%00\ns"
    )


def test_without_a_decision_each_api_finds_its_providers_however_many_serve_another(build: Build) -> None:
    apis = {"a": ["OpenAIChat"], "b": ["OpenAIChat"], "c": ["OpenAIChat"], "d": ["AnthropicMessages"], "e": []}
    raws = (build.raw("Provider", name, dialects=dialects, endpoints=["ocr"]) for name, dialects in apis.items())
    made = build.plan(*raws, build.secret())
    assert [*providers_of_models(made.providers, 2).values()] == ["a b d"]
    assert apis_of(made.providers)["d"] == " AnthropicMessages OpenAIChat ocr ", "chat is translated there"
    assert apis_of(made.providers)["e"] == " ocr "
