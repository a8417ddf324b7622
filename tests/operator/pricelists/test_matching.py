"""A vendor's prices are those of its own name in a list, not of another seller whose name begins alike."""

from typing import Any

import pytest
from tests.operator.pricelists.samples import read

from limpet_operator.pricelists.listed import OpenList
from limpet_operator.pricelists.matching import match, providers_of


def _models_dev(*providers: str) -> OpenList:
    def seller(number: int) -> dict[str, Any]:
        return {"models": {name: {"cost": {"input": number, "output": 1}} for name in ("m", f"m{number}")}}

    return read({name: seller(number) for number, name in enumerate(providers, 1)})


@pytest.mark.parametrize(
    ("vendor", "sellers", "taken"),
    [
        ("Alibaba", ("alibaba-cn", "alibaba"), ("alibaba",)),
        ("Moonshot", ("moonshotai-cn", "moonshotai"), ("moonshotai",)),
        ("MiniMax", ("minimax-cn", "minimax-coding-plan"), ()),
        ("ZAI", ("zai-coding-plan", "zai"), ("zai",)),
        ("GoogleAIStudio", ("google-vertex", "google"), ("google",)),
        (
            "VertexAI",
            ("google", "google-vertex-anthropic", "google-vertex"),
            ("google-vertex", "google-vertex-anthropic"),
        ),
        ("VertexAI", ("vertex_ai-anthropic_models", "vertex_ai"), ("vertex_ai", "vertex_ai-anthropic_models")),
        ("Custom", ("custom",), ()),
    ],
)
def test_the_sellers_of_a_list_that_are_a_vendor(vendor: str, sellers: tuple[str, ...], taken: tuple[str, ...]) -> None:
    assert providers_of(vendor, _models_dev(*sellers)) == taken


def test_a_model_that_only_another_seller_has_is_not_there() -> None:
    prices = _models_dev("alibaba-cn", "alibaba")
    matched = match("m1", ("m1",), providers_of("Alibaba", prices), prices)
    assert (matched.listed, matched.problem) == (None, "the list has no m1; did you mean m?")
