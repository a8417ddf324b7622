import pytest
from tests.activity.store.answers import ANSWERS, NEW_OF_EACH, Answer, fill
from tests.activity.store.conftest import Open

from limpet_activity.store.port import ActivityFilter
from limpet_activity.store.sql_store import SqlStore


@pytest.fixture(scope="module")
def filled(open_store: Open) -> SqlStore:
    store = open_store()
    assert fill(store) == NEW_OF_EACH
    return store


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.question)
def test_answers(filled: SqlStore, answer: Answer) -> None:
    assert answer.ask(filled) == answer.expected


def test_an_empty_store(open_store: Open) -> None:
    store = open_store()
    assert store.page(ActivityFilter(), None, 9).records == []
    assert list(store.steps(ActivityFilter(), 60)) == []
    assert store.last_number() == 0
    assert store.state().oldest_s is None
    assert (store.providers(), store.verdicts(0.0), store.turns("c0ffee", 9)) == ([], [], [])
