from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.activity.store.answers import ANSWERS, NEW_OF_EACH, Answer, fill

from limpet_activity.store.databases import parse_url
from limpet_activity.store.sql_store import SqlStore


def open_store(folder: Path) -> SqlStore:
    store = SqlStore(parse_url(f"sqlite:///{folder}/activity.sqlite3"))
    store.prepare()
    return store


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    store = open_store(tmp_path_factory.mktemp("store"))
    assert fill(store) == NEW_OF_EACH
    yield store
    store.close()


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.question)
def test_answers(filled: SqlStore, answer: Answer) -> None:
    assert answer.ask(filled) == answer.expected
