import pytest
from tests.activity.store.answers import ANSWERS, NEW_OF_EACH, T0, Answer, fill, ids, one

from limpet_activity.store.in_memory import InMemoryStore
from limpet_activity.store.port import ActivityFilter
from limpet_extproc.contract.activity import VERSION, ActivityBatch


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.question)
def test_answers(answer: Answer) -> None:
    store = InMemoryStore()
    fill(store)
    assert answer.ask(store) == answer.expected


def test_a_record_that_comes_again_counts_once() -> None:
    assert fill(InMemoryStore()) == NEW_OF_EACH


def test_the_oldest_go() -> None:
    store = InMemoryStore(most=2)
    records = [one(number, minute) for number, minute in enumerate((3, 1, 2))]
    store.take([ActivityBatch(VERSION, "gw-1", 0, 0, T0, records)], T0)
    assert ids(store.page(ActivityFilter(), None, 9).records) == ["r0", "r2"]
    assert store.record("r1") is None
    assert ids(store.taken_after(ActivityFilter(), 0, 9)[0]) == ["r0", "r2"]


def test_an_empty_store() -> None:
    store = InMemoryStore()
    assert store.page(ActivityFilter(), None, 9).records == []
    assert list(store.steps(ActivityFilter(), 60)) == []
    assert store.last_number() == 0
    assert store.state().oldest_s is None
