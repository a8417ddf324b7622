"""What a person has to put right at a provider stands from the first answer that shows it until it is over."""

import pytest

from limpet_extproc.contract.attempt import SETTLED_BY_PEOPLE, Attempt, AttemptOutcome, Cause
from limpet_extproc.contract.health_stream import Probed
from limpet_extproc.providers.complaints import EXPIRES_S, Complaints

NOW = 1_000.0


class Desk:
    """Complaints, and how often there was news."""

    def __init__(self) -> None:
        self.news = 0
        self.complaints = Complaints(self._told)

    def _told(self) -> None:
        self.news += 1

    def hear(self, cause: Cause, status: int = 401, message: str = "", model: str = "m", at_s: float = NOW) -> None:
        outcome: AttemptOutcome = "limited" if cause == "Limited" else "failed"
        self.complaints.add(Attempt("a", model, status, outcome, cause, message), at_s)

    def standing(self, at_s: float = NOW) -> Cause | None:
        """Of the provider, or else of its model."""
        found = self.complaints.standing("a", "", at_s) or self.complaints.standing("a", "m", at_s)
        return None if found is None else found.cause


@pytest.mark.parametrize(
    ("cause", "probed", "ends"),
    [
        ("CredentialRefused", Probed("a", "Up", since_s=NOW + 1, good_age_s=1.0), True),
        ("CredentialRefused", Probed("a", "Up", since_s=NOW - 1, good_age_s=1.0), True),  # heard of late
        ("CredentialRefused", Probed("a", "Up", since_s=NOW - 60, good_age_s=1.0), False),
        ("CredentialRefused", Probed("a", "Up", since_s=NOW - 60, model="m", good_age_s=1.0), True),
        ("CredentialRefused", Probed("a", "Up", since_s=NOW + 1, good_age_s=9.0), False),
        ("CredentialRefused", Probed("a", "Up", since_s=NOW + 1), False),
        ("CredentialRefused", Probed("b", "Up", since_s=NOW + 1, good_age_s=1.0), False),
        ("ModelNotFound", Probed("a", "Up", since_s=NOW + 1, good_age_s=1.0), False),
        ("ModelNotFound", Probed("a", "Up", model="m", good_age_s=1.0), True),
    ],
)
def test_a_later_good_probe_shows_that_it_is_over(cause: Cause, probed: Probed, *, ends: bool) -> None:
    desk = Desk()
    desk.hear(cause)
    desk.complaints.resolve_probed([probed], NOW + 5)
    assert (desk.standing(), desk.news) == ((None, 2) if ends else (cause, 1))


@pytest.mark.parametrize("cause", sorted(SETTLED_BY_PEOPLE))
def test_what_people_must_settle_is_reported_at_once_and_ends_with_an_answer(cause: Cause) -> None:
    desk = Desk()
    desk.hear(cause)
    assert (desk.standing(), desk.news) == (cause, 1)
    desk.complaints.resolve("b", "m")
    assert desk.standing() == cause
    desk.complaints.resolve("a", "m")
    assert (desk.standing(), desk.news) == (None, 2)


@pytest.mark.parametrize("cause", ["ServerError", "Timeout", "Limited", "Overloaded"])
def test_what_passes_unaided_is_only_the_last_failure(cause: Cause) -> None:
    desk = Desk()
    desk.hear(cause, 503, "try later")
    assert (desk.standing(), desk.news) == (None, 0)
    last = desk.complaints.last("a", "m")
    assert last is not None
    assert (last.cause, last.status, last.message) == (cause, 503, "try later")


def test_the_requests_own_fault_says_nothing_about_the_provider() -> None:
    desk = Desk()
    desk.complaints.add(Attempt("a", "m", 400, "refused", "BadRequest", "no messages"), NOW)
    desk.complaints.add(Attempt("a", "m", 0, "client_left"), NOW)
    assert (desk.standing(), desk.complaints.last("a", "m"), desk.news) == (None, None, 0)


def test_words_that_differ_from_answer_to_answer_are_no_news() -> None:
    desk = Desk()
    for number in range(5):
        desk.hear("CredentialRefused", message=f"wrong key, request {number}", at_s=NOW + number)
    found = desk.complaints.standing("a", "", NOW)
    assert found is not None
    assert (found.message, found.at_s, desk.news) == ("wrong key, request 0", NOW + 4, 1)
    desk.hear("NoCredit", 402)
    assert (desk.standing(), desk.news) == ("NoCredit", 2)


def test_only_an_answer_of_the_model_itself_ends_what_is_wrong_with_a_model() -> None:
    desk = Desk()
    desk.hear("ModelNotFound", 404, model="m")
    desk.complaints.resolve("a", "other")
    assert desk.standing() == "ModelNotFound"
    desk.complaints.resolve("a", "m")
    assert desk.standing() is None


def test_an_api_that_is_not_there_stays_so_whatever_else_answers() -> None:
    desk = Desk()
    gone = Attempt("a", "m", 404, "failed", "PathNotFound", "Not Found")
    desk.complaints.add(gone, NOW, "AnthropicMessages")
    desk.complaints.resolve("a", "m", "OpenAIChat")
    desk.complaints.resolve_probed([Probed("a", "Up", model="m", good_age_s=1.0)], NOW + 5)
    assert (desk.standing(), desk.news) == ("PathNotFound", 1)
    desk.complaints.resolve("a", "m", "AnthropicMessages")
    assert (desk.standing(), desk.news) == (None, 2)


def test_a_model_without_requests_is_forgotten_and_a_refused_key_is_not() -> None:
    desk = Desk()
    desk.hear("ModelNotFound", 404)
    assert (desk.standing(NOW + EXPIRES_S - 1), desk.standing(NOW + EXPIRES_S)) == ("ModelNotFound", None)
    desk.hear("CredentialRefused")
    assert desk.standing(NOW + 100 * EXPIRES_S) == "CredentialRefused"
