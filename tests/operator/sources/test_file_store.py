"""What the store keeps, and what it keeps by identity."""

import copy

from tests.operator.conftest import Build

from limpet_operator.resources.problem import Invalid, Problem
from limpet_operator.sources.file_store import FileStore
from limpet_operator.sources.files import Document, Origin


def test_first_listing_is_news_even_if_empty(build: Build) -> None:
    store = FileStore(build.parser)
    assert not store.synced
    assert store.replace([])
    assert store.synced
    assert not store.replace([])


def test_only_what_changed_is_parsed_again(build: Build) -> None:
    store = FileStore(build.parser)
    documents = build.documents(build.raw("Provider", "a"), build.raw("Provider", "b"))
    assert store.replace(documents)
    before = store.objects
    changed = Document(Origin("000.yaml", 1, 1), "", build.raw("Provider", "a", weight=7))
    assert store.replace([changed, documents[1]])
    a, b = build.key("Provider", "a"), build.key("Provider", "b")
    assert store.objects.parsed[b] is before.parsed[b]
    assert store.objects.parsed[a].weight == 7
    assert before.parsed[a].weight == 100


def test_what_says_the_same_in_other_words_is_no_change(build: Build) -> None:
    store = FileStore(build.parser)
    store.replace(build.documents(build.raw("Provider")))
    before = store.objects
    reworded = copy.deepcopy(build.raw("Provider", weight=100))
    assert not store.replace(build.documents(reworded))
    assert store.objects is before


def test_an_object_may_become_invalid_and_valid_again(build: Build) -> None:
    store = FileStore(build.parser)
    key = build.key("Provider")
    store.replace(build.documents(build.raw("Provider")))
    assert store.replace(build.documents(build.raw("Provider", weight=-1)))
    assert (key in store.objects.parsed, store.objects.invalid[key].message) == (
        False,
        "spec.weight: is -1; write 0 or more",
    )
    assert store.replace(build.documents(build.raw("Provider")))
    assert (key in store.objects.parsed, key in store.objects.invalid) == (True, False)
    assert store.replace([])
    assert not store.objects.parsed


def test_of_two_with_one_name_the_first_counts(build: Build) -> None:
    store = FileStore(build.parser)
    store.replace(build.documents(build.raw("Provider", weight=1), build.raw("Provider", weight=2)))
    assert store.objects.parsed[build.key("Provider")].weight == 1
    first, second = store.readings
    assert (first.duplicate_of, str(second.duplicate_of)) == (None, "000.yaml, document 1")


def test_nameless_and_foreign_documents_are_only_readings(build: Build) -> None:
    store = FileStore(build.parser)
    store.replace(build.documents([1], {"apiVersion": "apps/v1", "kind": "Deployment"}))
    assert not store.objects.parsed
    assert not store.objects.invalid
    assert [reading.key for reading in store.readings] == [None, None]
    assert isinstance(store.readings[0].result, Invalid)


def test_an_unreadable_document_says_nothing_of_an_empty_one(build: Build) -> None:
    store = FileStore(build.parser)
    unreadable = Document(Origin("a.yaml", 1, 1), "", None, Problem("line 1", "not valid YAML"))
    empty = Document(Origin("a.yaml", 2, 2), "", None)
    for _ in range(2):
        store.replace([unreadable, empty])
        assert [reading.result.message for reading in store.readings] == [
            "line 1: not valid YAML",
            "is null; write an object with apiVersion, kind, metadata and spec",
        ]
