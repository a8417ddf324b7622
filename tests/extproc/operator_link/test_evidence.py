"""A worker's reports on its providers: the right thing, soon, once, and everything to a new stream."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.waiting import until

from limpet_extproc.contract.attempt import Attempt
from limpet_extproc.contract.catalog import CacheUse, Evidence, EvidenceReport
from limpet_extproc.decision.health import HealthState, after_failure, after_limit, begin_trial
from limpet_extproc.operator_link.evidence import HealthReporter, ReportIntervals, evidence
from limpet_extproc.providers.complaints import Complaints
from limpet_extproc.providers.events import AttemptFailed, AttemptLimited, AttemptSucceeded
from limpet_extproc.providers.tracker import ProviderTracker

NOW = 1_000.0
QUIET = Complaints(lambda: None)


def failed(times: int, state: HealthState | None = None, now_s: float = NOW) -> HealthState:
    state = state or HealthState()
    for _ in range(times):
        state = after_failure(state, now_s)
    return state


OUT = failed(3)
UP = Evidence(NOW, since_s=NOW)
DOWN = Evidence(0.0, NOW, "down", NOW)

CASES: list[tuple[str, Evidence | None, float, HealthState | None, Evidence | None]] = [
    # case, last report, last answer, state, report
    ("nothing of a provider that only failed once", None, 0.0, failed(1), None),
    ("the first answer", None, NOW, None, UP),
    ("more answers do not start it again", UP, NOW + 9, None, Evidence(NOW + 9, since_s=NOW)),
    ("an answer between failures keeps it up", UP, NOW, failed(2), UP),
    ("three failures take it out", None, 0.0, OUT, DOWN),
    ("its last answer is reported all the same", UP, NOW - 1, OUT, Evidence(NOW - 1, NOW, "down", NOW)),
    ("a trial under way changes nothing", DOWN, 0.0, begin_trial(OUT, NOW + 6), DOWN),
    ("a failed trial is a later failure", DOWN, 0.0, failed(1, OUT, NOW + 6), Evidence(0.0, NOW + 6, "down", NOW)),
    ("a failure of a request that was under way is no news", DOWN, 0.0, failed(1, OUT, NOW + 1), DOWN),
    ("a 429", None, 0.0, after_limit(HealthState(), NOW, 30.0), Evidence(0.0, NOW, "over_limit", NOW)),
    ("back", DOWN, NOW + 7, None, Evidence(NOW + 7, since_s=NOW + 7)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "success_s", "state", "reported"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_the_evidence_on_a_provider(
    before: Evidence | None, success_s: float, state: HealthState | None, reported: Evidence | None
) -> None:
    found = evidence(
        {"a": before} if before else {},
        {"a": success_s} if success_s else {},
        {"a": state} if state else {},
        {},
        QUIET,
        NOW,
    )
    assert found.get("a") == reported
    if reported == before:
        assert found.get("a") is before, "the same object: so nothing is reported twice"


@pytest.mark.parametrize("state", [None, OUT])
def test_the_use_of_its_cache_is_reported_too_and_is_news_enough(state: HealthState | None) -> None:
    health = {"a": state} if state else {}
    before = evidence({}, {"a": NOW}, health, {"a": CacheUse(100, 10)}, QUIET, NOW)
    assert before["a"].cache == CacheUse(100, 10)
    assert evidence(before, {"a": NOW}, health, {"a": CacheUse(100, 10)}, QUIET, NOW)["a"] is before["a"]
    after = evidence(before, {"a": NOW}, health, {"a": CacheUse(100, 20)}, QUIET, NOW)
    assert after["a"] == msgspec.structs.replace(before["a"], cache=CacheUse(100, 20))


REFUSED = Attempt("a", "flash", 401, "failed", "CredentialRefused", "Incorrect API key")
BROKEN = Attempt("a", "flash", 503, "failed", "ServerError", "try later")


def complaining(*attempts: Attempt) -> Complaints:
    complaints = Complaints(lambda: None)
    for attempt in attempts:
        complaints.add(attempt, NOW)
    return complaints


WORDS: list[tuple[str, list[Attempt], float, HealthState | None, tuple[str, int, str]]] = [
    # case, failed attempts, last answer, state, and the reported cause, status and words
    ("a refused key, though it is not out", [REFUSED], 0.0, None, ("CredentialRefused", 401, "Incorrect API key")),
    ("and though it answered before", [REFUSED], NOW - 9, None, ("CredentialRefused", 401, "Incorrect API key")),
    ("nothing of a failure that passes unaided", [BROKEN], NOW - 9, None, ("", 0, "")),
    ("unless it is out", [BROKEN], NOW - 9, OUT, ("ServerError", 503, "try later")),
    ("what a person can settle before what passes", [REFUSED, BROKEN], NOW - 9, OUT, ("CredentialRefused", 401, "")),
]  # fmt: skip


@pytest.mark.parametrize(("received", "success_s", "state", "words"), [c[1:] for c in WORDS], ids=[c[0] for c in WORDS])
def test_what_is_wrong_is_reported_in_the_providers_words(
    received: list[Attempt], success_s: float, state: HealthState | None, words: tuple[str, int, str]
) -> None:
    answered = {"a": success_s} if success_s else {}
    found = evidence({}, answered, {"a": state} if state else {}, {}, complaining(*received), NOW)["a"]
    assert (found.cause, found.status) == words[:2]
    assert found.message.startswith(words[2])


STEP = st.tuples(st.sampled_from(["ok", "fail", "limit", "say"]), st.sampled_from("ab"))


@given(st.lists(STEP, max_size=40))
def test_it_always_agrees_with_what_the_worker_decides_by(steps: list[tuple[str, str]]) -> None:
    providers, reported, now_s = ProviderTracker(lambda *_: None), dict[str, Evidence](), NOW
    for what, name in steps:
        now_s += 1.0
        if what == "ok":
            providers.apply(AttemptSucceeded(name, now_s, None))
        elif what == "fail":
            providers.apply(AttemptFailed(name, now_s))
        elif what == "limit":
            providers.apply(AttemptLimited(name, now_s, 5.0))
        else:
            reported = evidence(reported, providers.last_answer_s, providers.health, {}, QUIET, now_s)
    reported = evidence(reported, providers.last_answer_s, providers.health, {}, QUIET, now_s)
    for name in "ab":
        state, known = providers.health.get(name, HealthState()), reported.get(name)
        assert (known.trouble if known else None) == state.trouble
        if known is not None:
            assert known.success_s == providers.last_answer_s.get(name, 0.0)
            assert known.since_s <= max(known.success_s, known.failure_s) <= now_s


async def test_news_is_reported_once_and_soon_and_a_new_stream_gets_everything() -> None:
    answered, health, slept = {"a": NOW, "b": NOW}, dict[str, HealthState](), list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    reporter = HealthReporter(answered, health, dict, QUIET, ReportIntervals(0.2, 60.0), sleep=sleep)
    streams: list[list[EvidenceReport]] = []

    def stream() -> asyncio.Task[None]:
        received: list[EvidenceReport] = []
        streams.append(received)

        async def send(report: EvidenceReport) -> None:
            received.append(report)

        return asyncio.create_task(reporter.report(send))

    first = stream()
    await until(lambda: streams[0])
    health["a"] = OUT
    reporter.changed()
    await until(lambda: len(streams[0]) == 2)
    reporter.changed()
    await until(lambda: len(slept) >= 2)
    assert streams[0] == [EvidenceReport({"a": UP, "b": UP}), EvidenceReport({"a": Evidence(NOW, NOW, "down", NOW)})]
    assert set(slept) == {0.2}, "what happens within a moment of it travels with it"
    first.cancel()
    second = stream()
    await until(lambda: streams[1])
    assert streams[1] == [EvidenceReport({"a": Evidence(NOW, NOW, "down", NOW), "b": UP})]
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)


async def test_answers_that_change_nothing_are_reported_every_now_and_then() -> None:
    answered = {"a": NOW}
    received: list[float] = []

    async def send(report: EvidenceReport) -> None:
        received.append(report.providers["a"].success_s)
        answered["a"] += 1

    task = asyncio.create_task(HealthReporter(answered, {}, dict, QUIET, ReportIntervals(0.0, 0.01)).report(send))
    await until(lambda: len(received) >= 3)
    task.cancel()
    assert received[:3] == [NOW, NOW + 1, NOW + 2]
