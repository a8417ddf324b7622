"""A request that some candidates would have to have translated: they are passed over if it cannot be."""

from typing import Any

import pytest
from tests.extproc.conftest import MODEL, Make
from tests.extproc.request.gateway import Gateway
from tests.extproc.translation.shapes import chat

from limpet_extproc.contract.catalog import CatalogProvider
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.request.reading import HEAVY_BYTES, RequestReader
from limpet_extproc.translation.untranslatable import Untranslatable

PATH = "/v1/chat/completions"


def translated(make: Make, name: str) -> CatalogProvider:
    return make.provider(name, dialects=("AnthropicMessages",), translated=("OpenAIChat",))


def asked(**fields: Any) -> dict[str, Any]:
    return chat(**{"model": MODEL, **fields})


async def test_both_kinds_are_candidates_of_what_can_be_translated(make: Make) -> None:
    gateway = Gateway(make.snapshot(translated(make, "a"), make.provider("b")))
    assert set((await gateway.route(PATH, asked(seed=1))).decision.order) == {"a", "b"}


async def test_a_native_one_serves_the_rest(make: Make) -> None:
    gateway = Gateway(make.snapshot(translated(make, "a"), make.provider("b"), translated(make, "c")))
    decision = (await gateway.route(PATH, asked(n=2))).decision
    assert decision.order == ("b",)
    assert decision.excluded == {"a": "untranslatable", "c": "untranslatable"}
    assert decision.reason == "first.scored"


@pytest.mark.parametrize(
    ("fields", "reason", "param"),
    [
        ({"n": 2}, "refused.untranslatable", "n"),
        ({"n": 2, "provider": {"only": ["a"]}}, "refused.untranslatable", "n"),
        ({"n": 2, "provider": {"only": ["x"]}}, "refused.nobody_left", "provider.only"),
    ],
    ids=["alone", "asked for", "nobody asked for"],
)
async def test_or_it_is_refused(make: Make, fields: dict[str, Any], reason: str, param: str) -> None:
    others = (make.provider("b"),) if "provider" in fields else ()
    refusal = await Gateway(make.snapshot(translated(make, "a"), *others)).answer(PATH, asked(**fields))
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.reason, refusal.param) == (400, reason, param)
    assert ("Messages: Anthropic gives one answer. Change it" in refusal.message) == (param == "n")


async def test_limpets_own_fields_do_not_count(make: Make) -> None:
    gateway = Gateway(make.snapshot(translated(make, "a")))
    fields = {"provider": {"order": ["a"]}, "session_id": "s", "allow_fallbacks": True, "models": [MODEL]}
    assert (await gateway.route(PATH, asked(**fields))).decision.order == ("a",)


async def test_a_large_body_is_looked_through_elsewhere() -> None:
    reader = RequestReader()
    try:
        body = b'{"model":"m","n":2,"messages":[{"role":"user","content":"' + b"x" * HEAVY_BYTES + b'"}]}'
        assert await reader.untranslatable(memoryview(body)) == Untranslatable("n", "Anthropic gives one answer")
        assert await reader.untranslatable(memoryview(body.replace(b'"n":2', b'"n":1'))) is None
        assert reader.pid is not None
    finally:
        await reader.close()
