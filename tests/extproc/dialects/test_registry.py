"""Which dialect a request is in."""

from pathlib import Path

import pytest

import limpet_extproc
from limpet_extproc.contract.apis import CONVERSATIONS
from limpet_extproc.dialects.registry import BY_NAME, spoken


@pytest.mark.parametrize("path", CONVERSATIONS)
def test_a_path_means_the_same_with_a_query_and_under_a_prefix(path: str) -> None:
    found = spoken(f"/v1{path}")
    assert found.api == (CONVERSATIONS[path], "conversation")
    assert found == spoken(f"/v1{path}?a=b") == spoken(f"/v1/v1{path}/") == spoken(f"/llm/v1{path}?a=/v1/x")


def test_an_unknown_path_is_taken_for_chat() -> None:
    assert spoken("/ask") == spoken("") == spoken("/v1/chat/completions")


def test_nothing_outside_of_dialects_knows_one_by_its_module() -> None:
    root = Path(limpet_extproc.__file__).parent
    sources = {path: path.read_text() for path in root.rglob("*.py")}
    for dialect in BY_NAME.values():
        for path, source in sources.items():
            if path.parent.name not in ("dialects", "contract"):
                assert type(dialect).__module__ not in source, path
