"""What is stored from updates in any order, and from listings that show what the updates missed."""

import base64
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.operator.conftest import Build

from limpet_operator.resources.problem import Invalid, ObjectKey, Problem
from limpet_operator.sources.cluster_store import NOTHING, ClusterStore, Listing, StoreChange


def sent(
    raw: dict[str, Any], version: int, uid: str = "u1", generation: int | None = None, **more: Any
) -> dict[str, Any]:
    """The object as the API server would send it."""
    metadata = {**raw["metadata"], "uid": uid, "resourceVersion": str(version)}
    metadata["generation"] = version if generation is None else generation
    return {**raw, "metadata": metadata, **more}


def listing(build: Build, version: int, **objects: int) -> Listing:
    return Listing("Provider", None, version, {build.key("Provider", name): each for name, each in objects.items()})


def test_an_object_comes_changes_and_goes(build: Build) -> None:
    store, key = ClusterStore(build.parser), build.key("Provider", "a")
    assert store.put(sent(build.raw("Provider", "a"), 1)) == StoreChange(spec=True, status=True)
    before = store.objects
    assert store.put(sent(build.raw("Provider", "a", weight=7), 2)).spec
    assert (before.parsed[key].weight, store.objects.parsed[key].weight) == (100, 7)
    assert store.stored(key).resource_version == 2
    assert store.drop(key) == StoreChange(spec=True, status=True)
    assert (store.objects.parsed, store.stored(key)) == ({}, None)
    assert store.drop(key) == NOTHING


def test_older_news_changes_nothing(build: Build) -> None:
    store = ClusterStore(build.parser)
    store.put(sent(build.raw("Provider", "a", weight=7), 5))
    assert store.put(sent(build.raw("Provider", "a", weight=1), 4)) == NOTHING
    assert store.put(sent(build.raw("Provider", "a", weight=1), 5)) == NOTHING
    assert store.objects.parsed[build.key("Provider", "a")].weight == 7


def test_a_status_is_no_news_for_the_plan_but_for_who_writes_it(build: Build) -> None:
    store, raw = ClusterStore(build.parser), build.raw("Provider", "a")
    store.put(sent(raw, 1))
    before = store.objects
    assert store.put(sent(raw, 2, generation=1, status={"conditions": []})) == StoreChange(status=True)
    assert store.put(sent(raw, 3, generation=1, status={"conditions": []})) == NOTHING
    assert store.objects is before
    assert store.stored(build.key("Provider", "a")).resource_version == 3


def test_labels_count_although_they_are_no_spec(build: Build) -> None:
    store = ClusterStore(build.parser)
    store.put(sent(build.raw("Provider", "a"), 1))
    assert store.put(sent(build.raw("Provider", "a", labels={"tier": "fast"}), 2, generation=1)).spec


def test_a_secret_has_no_generation(build: Build) -> None:
    store, secret = ClusterStore(build.parser), {"apiVersion": "v1", "kind": "Secret", "metadata": {}}
    for version, value in ((1, b"old"), (2, b"new")):
        secret["data"] = {"key": base64.b64encode(value).decode()}
        secret["metadata"] = build.secret("s")["metadata"]
        assert store.put(sent(secret, version, generation=0)).spec
    assert store.objects.parsed[build.key("Secret", "s")].values == {"key": b"new"}


def test_the_end_of_an_earlier_object_is_not_that_of_a_later_one(build: Build) -> None:
    store, key = ClusterStore(build.parser), build.key("Provider", "a")
    store.put(sent(build.raw("Provider", "a"), 5, uid="later"))
    assert store.drop(key, "earlier") == NOTHING
    assert store.drop(key, "later").spec


def test_an_object_may_become_invalid_and_out_of_reach(build: Build) -> None:
    store, key = ClusterStore(build.parser), build.key("Provider", "a")
    store.put(sent(build.raw("Provider", "a"), 1))
    assert store.put(sent(build.raw("Provider", "a", weight=-1), 2)).spec
    assert (key in store.objects.parsed, key in store.objects.invalid) == (False, True)
    refused = Invalid(key, (Problem("", "may not be read"),))
    assert store.refuse(refused).spec
    assert not store.refuse(refused).spec
    assert store.objects.invalid == {key: refused}
    assert store.put(sent(build.raw("Provider", "a"), 2)).spec
    assert store.objects.invalid == {}


def test_a_listing_tells_what_was_deleted_unnoticed_and_what_is_still_to_come(build: Build) -> None:
    store = ClusterStore(build.parser)
    for name, version in (("a", 1), ("b", 2), ("newer", 9)):
        store.put(sent(build.raw("Provider", name), version, uid=name))
    store.put(sent(build.raw("Pricing", "b"), 3))
    now = listing(build, 5, a=4, c=5)
    assert store.drop_unlisted(now) == StoreChange(spec=True, status=True)
    assert store.objects.parsed.keys() == {
        build.key("Provider", "a"), build.key("Provider", "newer"), build.key("Pricing", "b"),
    }  # fmt: skip
    assert store.behind(now) == {build.key("Provider", "a"), build.key("Provider", "c")}
    assert store.drop_unlisted(now) == NOTHING


def test_a_listing_of_one_namespace_says_nothing_of_another(build: Build) -> None:
    store = ClusterStore(build.parser)
    store.put(sent(build.raw("Provider", "a", "ai"), 1))
    assert store.drop_unlisted(Listing("Provider", "team-b", 5, {})) == NOTHING
    assert store.drop_unlisted(Listing("Provider", "ai", 5, {})).spec


NEWS = st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(NEWS, st.randoms(use_true_random=False))
def test_news_and_listings_in_any_order_end_in_the_same(
    build: Build, news: list[tuple[str, bool]], rng: Random
) -> None:
    """Deletions may go missing, everything else may come late and twice: a last listing settles it."""
    alive: dict[str, int] = {}
    stories = []
    for version, (name, deleted) in enumerate(news, start=1):
        if deleted:
            alive.pop(name, None)
        else:
            alive[name] = version
            stories.append(sent(build.raw("Provider", name, weight=version), version))
    now = listing(build, len(news), **alive)
    store = ClusterStore(build.parser)
    rng.shuffle(stories)
    for story in [*stories, *stories]:
        store.put(story)
        if rng.random() < 0.3:
            store.drop_unlisted(now)
    store.drop_unlisted(now)
    parsed: dict[ObjectKey, int] = {key: each.weight for key, each in store.objects.parsed.items()}
    assert parsed == dict(now.objects)
    assert not store.behind(now)
