"""A worker's reports on its providers: the right thing, soon, once, and everything to a new stream."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.hand_clock import HandClock
from tests.waiting import until

from limpet_extproc.contract.attempt import Attempt
from limpet_extproc.contract.catalog import CacheUse, Evidence, EvidenceReport
from limpet_extproc.operator_link.evidence import HealthReporter, ReportIntervals, evidence
from limpet_extproc.providers.complaints import Complaints
from limpet_extproc.providers.events import AttemptFailed, AttemptLimited, AttemptSucceeded, ProviderEvent, TrialBegan
from limpet_extproc.providers.tracker import ProviderTracker

NOW = 1_000.0
QUIET = Complaints(lambda: None)


class Seen:
    """What a worker has seen of a provider, as a story: each event after a second."""

    def __init__(self, *story: ProviderEvent) -> None:
        self.clock = HandClock(NOW)
        self.tracker = ProviderTracker(self.clock, lambda _change: None)
        self.tell(*story)

    def tell(self, *story: ProviderEvent) -> "Seen":
        for event in story:
            self.clock.now_s += 1
            self.tracker.apply(event)
        return self

    def evidence(
        self, before: Evidence | None = None, cache: CacheUse | None = None, complaints: Complaints = QUIET
    ) -> Evidence | None:
        known = {"a": before} if before is not None else {}
        caches = {"a": cache} if cache is not None else {}
        return evidence(known, self.tracker, caches, complaints, self.clock.now_s).get("a")


FAIL, OK = AttemptFailed("a", "flash", "ServerError"), AttemptSucceeded("a", "flash")
DOWN = Evidence(0.0, NOW + 3, "down", NOW + 3)

CASES: list[tuple[str, list[ProviderEvent], Evidence | None]] = [
    ("nothing of a provider that only failed once", [FAIL], None),
    ("the first answer", [OK], Evidence(NOW + 1, since_s=NOW + 1)),
    ("three failures take it out", [FAIL] * 3, DOWN),
    ("its last answer is reported all the same", [OK, *[FAIL] * 3], Evidence(NOW + 1, NOW + 4, "down", NOW + 4)),
    ("a failure during the pause is no news", [FAIL] * 4, DOWN),
    ("a failed trial is a later failure", [*[FAIL] * 9], Evidence(0.0, NOW + 8, "down", NOW + 3)),
    ("a 429", [AttemptLimited("a", "flash", 30.0)], Evidence(0.0, NOW + 1, "over_limit", NOW + 1)),
    ("degraded", [OK, FAIL] * 5, Evidence(NOW + 9, NOW + 10, "degraded", NOW + 10)),
    ("back", [*[FAIL] * 3, OK], Evidence(NOW + 4, since_s=NOW + 4)),
]  # fmt: skip


@pytest.mark.parametrize(("story", "reported"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_the_evidence_on_a_provider(story: list[ProviderEvent], reported: Evidence | None) -> None:
    seen = Seen(*story)
    found = seen.evidence()
    assert found == reported
    assert found is None or seen.evidence(found) is found, "the same object: so nothing is reported twice"


def test_more_answers_do_not_start_a_run_of_answers_again() -> None:
    seen = Seen(OK)
    first = seen.evidence()
    assert seen.tell(FAIL, OK).evidence(first) == Evidence(NOW + 3, since_s=NOW + 1)


@pytest.mark.parametrize("story", [[OK], [OK, *[FAIL] * 3]])
def test_the_use_of_its_cache_is_reported_too_and_is_news_enough(story: list[ProviderEvent]) -> None:
    seen = Seen(*story)
    before = seen.evidence(cache=CacheUse(100, 10))
    assert before is not None
    assert before.cache == CacheUse(100, 10)
    assert seen.evidence(before, CacheUse(100, 10)) is before
    assert seen.evidence(before, CacheUse(100, 20)) == msgspec.structs.replace(before, cache=CacheUse(100, 20))


REFUSED = Attempt("a", "flash", 401, "failed", "CredentialRefused", "Incorrect API key")
BROKEN = Attempt("a", "flash", 503, "failed", "ServerError", "try later")


def complaining(*attempts: Attempt) -> Complaints:
    complaints = Complaints(lambda: None)
    for attempt in attempts:
        complaints.add(attempt, NOW)
    return complaints


OUT: list[ProviderEvent] = [OK, *[FAIL] * 3]

WORDS: list[tuple[str, list[Attempt], list[ProviderEvent], tuple[str, int, str]]] = [
    # case, failed attempts, events, and the reported cause, status and words
    ("a refused key, though it is not out", [REFUSED], [], ("CredentialRefused", 401, "Incorrect API key")),
    ("and though it answered before", [REFUSED], [OK], ("CredentialRefused", 401, "Incorrect API key")),
    ("nothing of a failure that passes unaided", [BROKEN], [OK], ("", 0, "")),
    ("unless it is out", [BROKEN], OUT, ("ServerError", 503, "try later")),
    ("what a person can settle before what passes", [REFUSED, BROKEN], OUT, ("CredentialRefused", 401, "")),
]  # fmt: skip


@pytest.mark.parametrize(("received", "story", "words"), [c[1:] for c in WORDS], ids=[c[0] for c in WORDS])
def test_what_is_wrong_is_reported_in_the_providers_words(
    received: list[Attempt], story: list[ProviderEvent], words: tuple[str, int, str]
) -> None:
    found = Seen(*story).evidence(complaints=complaining(*received))
    assert found is not None
    assert (found.cause, found.status) == words[:2]
    assert found.message.startswith(words[2])


STORIES = st.lists(st.sampled_from([OK, FAIL, AttemptLimited("a", "flash", 5.0), TrialBegan("a", "flash"), None]))


@given(STORIES)
def test_it_always_agrees_with_what_the_worker_decides_by(story: list[ProviderEvent | None]) -> None:
    seen, known = Seen(), None
    for event in [*story, None]:
        if event is not None:
            seen.tell(event)
            continue
        known = seen.evidence(known)
        trouble = seen.tracker.states.judge("a", "flash", seen.clock.now_s).trouble
        assert (known.trouble if known else None) == trouble
        if known is not None:
            assert known.success_s == seen.tracker.last_answer_s.get(("a", ""), 0.0)
            assert known.since_s <= max(known.success_s, known.failure_s) <= seen.clock.now_s


async def test_news_is_reported_once_and_soon_and_a_new_stream_gets_everything() -> None:
    seen, slept = Seen(), list[float]()
    seen.tracker.apply(OK)
    seen.tracker.apply(AttemptSucceeded("b", "flash"))
    up, down = Evidence(NOW, since_s=NOW), Evidence(NOW, NOW, "down", NOW)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    reporter = HealthReporter(seen.tracker, dict, QUIET, seen.clock, ReportIntervals(0.2, 60.0), sleep=sleep)
    streams: list[list[EvidenceReport]] = []

    def stream() -> asyncio.Task[None]:
        received: list[EvidenceReport] = []
        streams.append(received)

        async def send(report: EvidenceReport) -> None:
            received.append(report)

        return asyncio.create_task(reporter.report(send))

    first = stream()
    await until(lambda: streams[0])
    for _ in range(3):
        seen.tracker.apply(FAIL)
    reporter.changed()
    await until(lambda: len(streams[0]) == 2)
    reporter.changed()
    await until(lambda: len(slept) >= 2)
    assert streams[0] == [EvidenceReport({"a": up, "b": up}), EvidenceReport({"a": down})]
    assert set(slept) == {0.2}, "what happens within a moment of it travels with it"
    first.cancel()
    second = stream()
    await until(lambda: streams[1])
    assert streams[1] == [EvidenceReport({"a": down, "b": up})]
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)


async def test_answers_that_change_nothing_are_reported_every_now_and_then() -> None:
    seen, received = Seen(OK), list[float]()

    async def send(report: EvidenceReport) -> None:
        received.append(report.providers["a"].success_s)
        seen.tell(OK)

    reporter = HealthReporter(seen.tracker, dict, QUIET, seen.clock, ReportIntervals(0.0, 0.01))
    task = asyncio.create_task(reporter.report(send))
    await until(lambda: len(received) >= 3)
    task.cancel()
    assert received[:3] == [NOW + 1, NOW + 2, NOW + 3]
