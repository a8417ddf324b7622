"""How far a watch is behind: what is missing, what is late, and which silence means that a watch has died."""

from limpet_operator.resources.problem import ObjectKey
from limpet_operator.sources.freshness import WatchFreshness

A, B, PRICE = ObjectKey("Provider", "x", "a"), ObjectKey("Provider", "x", "b"), ObjectKey("Pricing", "x", "p")


def fresh(*, by_namespace: bool = False) -> WatchFreshness:
    freshness = WatchFreshness(by_namespace=by_namespace)
    freshness.watch_started(100.0)
    return freshness


def test_before_the_first_listing_it_is_unknown_what_is_missing() -> None:
    freshness = fresh()
    freshness.received(A, 100.0)
    assert freshness.missing is None
    assert freshness.listing_taken({}, 101.0), "known now"
    assert freshness.missing == 0
    assert not freshness.listing_taken({}, 102.0)


def test_each_object_of_the_first_listing_is_missing_until_it_is_received() -> None:
    freshness = fresh()
    freshness.listing_taken({A: 0, PRICE: 0}, 101.0)
    assert (freshness.missing, freshness.behind) == (2, 2)
    freshness.received(A, 102.0)
    assert (freshness.missing, freshness.behind) == (1, 1)


def test_what_is_no_longer_listed_is_no_longer_missing() -> None:
    freshness = fresh()
    freshness.listing_taken({A: 0, B: 0}, 101.0)
    assert freshness.listing_taken({B: 0}, 102.0)
    assert freshness.missing == 1


def test_what_is_listed_later_is_behind_and_never_missing() -> None:
    freshness = fresh()
    freshness.listing_taken({}, 101.0)
    assert not freshness.listing_taken({A: 0}, 102.0)
    assert (freshness.missing, freshness.behind) == (0, 1)


def test_silence_counts_from_when_an_object_fell_behind_or_its_watch_last_delivered() -> None:
    freshness = fresh()
    freshness.listing_taken({A: 7}, 110.0)
    freshness.listing_taken({A: 7}, 125.0)
    assert freshness.silent_s(130.0) == 20.0
    freshness.received(PRICE, 131.0)
    assert freshness.silent_s(132.0) == 22.0, "another kind has another watch"
    freshness.received(B, 133.0)
    assert freshness.silent_s(134.0) == 1.0, "slow, but alive"
    freshness.received(A, 135.0)
    assert freshness.silent_s(999.0) == 0.0


def test_a_newer_version_here_starts_the_silence_again() -> None:
    freshness = fresh()
    freshness.listing_taken({A: 7}, 110.0)
    freshness.listing_taken({A: 8}, 125.0)
    assert freshness.silent_s(130.0) == 5.0


def test_with_watches_by_namespace_another_namespace_does_not_break_the_silence() -> None:
    elsewhere = ObjectKey("Provider", "y", "a")
    for by_namespace, silent_s in ((True, 20.0), (False, 1.0)):
        freshness = fresh(by_namespace=by_namespace)
        freshness.listing_taken({A: 7}, 110.0)
        freshness.received(elsewhere, 129.0)
        assert freshness.silent_s(130.0) == silent_s


def test_a_watch_that_was_just_restarted_is_not_overdue() -> None:
    freshness = fresh()
    freshness.listing_taken({A: 7}, 110.0)
    assert not freshness.is_overdue(140.0, 30.0)
    assert freshness.is_overdue(141.0, 30.0)
    freshness.watch_started(141.0)
    assert not freshness.is_overdue(170.0, 30.0)
    assert freshness.is_overdue(172.0, 30.0)


def test_while_nothing_can_be_listed_nothing_is_behind() -> None:
    freshness = fresh()
    freshness.listing_taken({A: 7}, 110.0)
    freshness.listing_failed()
    assert (freshness.behind, freshness.silent_s(999.0)) == (0, 0.0)
    assert freshness.missing == 1, "it is still waited for"
