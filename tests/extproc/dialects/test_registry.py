"""Which dialect a request is in."""

from pathlib import Path

import pytest

import limpet_extproc
from limpet_extproc.contract.catalog import SERVED_DIALECTS
from limpet_extproc.dialects.port import Dialect
from limpet_extproc.dialects.registry import BY_NAME, DIALECTS, dialect_of


def test_the_operator_has_routes_for_the_dialects_that_are_listed_and_no_other() -> None:
    assert BY_NAME.keys() == SERVED_DIALECTS


def test_no_path_belongs_to_two_dialects() -> None:
    paths = [path for dialect in DIALECTS for path in dialect.paths]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_path_means_the_same_with_a_query_and_under_a_prefix(dialect: Dialect) -> None:
    for path in dialect.paths:
        assert dialect_of(path) is dialect_of(f"{path}?a=b") is dialect_of(f"/llm{path}?a=/v1/x") is dialect


def test_an_unknown_path_is_taken_for_the_first_dialect() -> None:
    assert dialect_of("/ask") is dialect_of("") is DIALECTS[0]


def test_nothing_outside_of_dialects_knows_one_by_name() -> None:
    root = Path(limpet_extproc.__file__).parent
    sources = {path: path.read_text() for path in root.rglob("*.py")}
    for dialect in DIALECTS:
        for path, source in sources.items():
            if path.parent.name not in ("dialects", "contract"):
                assert dialect.name not in source, path
                assert type(dialect).__module__ not in source, path
