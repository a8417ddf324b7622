import pytest

from limpet_activity.web.sentences import (
    CACHE_CAUSES,
    EXCLUSIONS,
    OUTCOMES,
    REASONS,
    UNKNOWN_REASON,
    passed_over,
    what_became_of_the_read,
    why,
)
from limpet_extproc.contract.attempt import AttemptOutcome
from limpet_extproc.contract.reasons import CacheCause, Exclusion, Reason, words


@pytest.mark.parametrize(
    ("told", "listed"),
    [(REASONS, Reason), (CACHE_CAUSES, CacheCause), (EXCLUSIONS, Exclusion), (OUTCOMES, AttemptOutcome)],
)
def test_every_word_has_a_sentence_and_no_other(told: dict[str, str], listed: object) -> None:
    assert set(told) == set(words(listed))


@pytest.mark.parametrize("sentence", [*REASONS.values(), *CACHE_CAUSES.values()])
def test_sentences_are_sentences(sentence: str) -> None:
    assert sentence[0].isupper()
    assert sentence.endswith(".")


def test_a_reason_names_its_provider_where_that_is_known() -> None:
    assert why("sticky.hit", "alpha") == "The conversation was expected to be in alpha's cache."


def test_words_of_a_later_version_are_shown_as_they_are() -> None:
    assert why("sticky.new") == "sticky.new: a reason that this page does not know yet."
    assert why("") == UNKNOWN_REASON
    assert why("", "alpha") == UNKNOWN_REASON
    assert passed_over("asleep") == "asleep"


@pytest.mark.parametrize(
    ("cause", "reason", "end"),
    [
        ("hit", "", "All or nearly all that was expected in the cache was read."),
        ("hit", "first.warm_head", "A first turn, whose beginning others had left in the cache: it was read."),
        ("", "", ""),
        ("prefix_changed(message 3)", "", "at message 3, and no cache reads beyond that."),
        ("prefix_changed(tools)", "", "at its tools, and no cache reads beyond that."),
        ("prefix_changed", "", "beyond that place."),
        ("partial(2048)", "", "It was 2048 tokens."),
        ("provider_switched(sticky.left.down)", "first.scored", "The warm provider was down."),
        ("provider_switched(sticky.left.down)", "sticky.left.down", "this one's cache did not have it."),
        ("provider_switched(ServerError)", "sticky.hit", "(ServerError)"),
        ("dreamt", "", "does not know yet."),
    ],
)
def test_causes_with_their_details(cause: str, reason: str, end: str) -> None:
    assert what_became_of_the_read(cause, reason).endswith(end)
