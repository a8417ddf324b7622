"""What a worker tells of its providers: the right thing, soon, once, and everything to whoever has heard nothing."""

import asyncio

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.waiting import until

from limpet_extproc.contract.attempt import Attempt
from limpet_extproc.contract.catalog import CacheUse, Evidence, Health
from limpet_extproc.decision.health import HealthState, after_failure, after_limit, begin_trial
from limpet_extproc.operator_link.evidence import HealthReporter, ReportIntervals, evidence
from limpet_extproc.providers.complaints import Complaints
from limpet_extproc.providers.events import AttemptFailed, AttemptLimited, AttemptSucceeded
from limpet_extproc.providers.tracker import Providers

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
    # what is said, what was said before, its last answer, what is held against it
    ("nothing of a provider that only failed once", None, 0.0, failed(1), None),
    ("the first answer", None, NOW, None, UP),
    ("more answers do not begin anew", UP, NOW + 9, None, Evidence(NOW + 9, since_s=NOW)),
    ("an answer between failures keeps it up", UP, NOW, failed(2), UP),
    ("three failures take it out", None, 0.0, OUT, DOWN),
    ("its last answer is told all the same", UP, NOW - 1, OUT, Evidence(NOW - 1, NOW, "down", NOW)),
    ("a trial under way changes nothing", DOWN, 0.0, begin_trial(OUT, NOW + 6), DOWN),
    ("a failed trial is a later failure", DOWN, 0.0, failed(1, OUT, NOW + 6), Evidence(0.0, NOW + 6, "down", NOW)),
    ("a failure of a request that was under way is no news", DOWN, 0.0, failed(1, OUT, NOW + 1), DOWN),
    ("a 429", None, 0.0, after_limit(HealthState(), NOW, 30.0), Evidence(0.0, NOW, "over_limit", NOW)),
    ("back", DOWN, NOW + 7, None, Evidence(NOW + 7, since_s=NOW + 7)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "success_s", "state", "said"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_what_is_said_of_a_provider(
    before: Evidence | None, success_s: float, state: HealthState | None, said: Evidence | None
) -> None:
    told = evidence(
        {"a": before} if before else {},
        {"a": success_s} if success_s else {},
        {"a": state} if state else {},
        {},
        QUIET,
        NOW,
    )
    assert told.get("a") == said
    if said == before:
        assert told.get("a") is before, "the same object: that is how nothing is told twice"


@pytest.mark.parametrize("state", [None, OUT])
def test_what_its_cache_did_is_said_too_and_is_news_by_itself(state: HealthState | None) -> None:
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
    # what is told, what was heard, its last answer, what is held against it, cause and status and words
    ("a refused key, though it is not out", [REFUSED], 0.0, None, ("CredentialRefused", 401, "Incorrect API key")),
    ("and though it answered before", [REFUSED], NOW - 9, None, ("CredentialRefused", 401, "Incorrect API key")),
    ("nothing of a failure that passes by itself", [BROKEN], NOW - 9, None, ("", 0, "")),
    ("unless it is out", [BROKEN], NOW - 9, OUT, ("ServerError", 503, "try later")),
    ("what a person can settle before what passes", [REFUSED, BROKEN], NOW - 9, OUT, ("CredentialRefused", 401, "")),
]  # fmt: skip


@pytest.mark.parametrize(("heard", "success_s", "state", "words"), [c[1:] for c in WORDS], ids=[c[0] for c in WORDS])
def test_what_is_wrong_is_told_in_the_providers_words(
    heard: list[Attempt], success_s: float, state: HealthState | None, words: tuple[str, int, str]
) -> None:
    answered = {"a": success_s} if success_s else {}
    told = evidence({}, answered, {"a": state} if state else {}, {}, complaining(*heard), NOW)["a"]
    assert (told.cause, told.status) == words[:2]
    assert told.says.startswith(words[2])


STEP = st.tuples(st.sampled_from(["ok", "fail", "limit", "say"]), st.sampled_from("ab"))


@given(st.lists(STEP, max_size=40))
def test_it_always_agrees_with_what_the_worker_decides_by(steps: list[tuple[str, str]]) -> None:
    providers, said, now_s = Providers(lambda *_: None), dict[str, Evidence](), NOW
    for what, name in steps:
        now_s += 1.0
        if what == "ok":
            providers.apply(AttemptSucceeded(name, now_s, None))
        elif what == "fail":
            providers.apply(AttemptFailed(name, now_s))
        elif what == "limit":
            providers.apply(AttemptLimited(name, now_s, 5.0))
        else:
            said = evidence(said, providers.answered, providers.health, {}, QUIET, now_s)
    said = evidence(said, providers.answered, providers.health, {}, QUIET, now_s)
    for name in "ab":
        state, known = providers.health.get(name, HealthState()), said.get(name)
        assert (known.out_because if known else None) == state.out_because
        if known is not None:
            assert known.success_s == providers.answered.get(name, 0.0)
            assert known.since_s <= max(known.success_s, known.failure_s) <= now_s


async def test_news_is_told_once_and_at_once_and_a_new_stream_hears_everything() -> None:
    answered, health, slept = {"a": NOW, "b": NOW}, dict[str, HealthState](), list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    reporter = HealthReporter(answered, health, dict, QUIET, ReportIntervals(0.2, 60.0), sleep=sleep)
    streams: list[list[Health]] = []

    def stream() -> asyncio.Task[None]:
        heard: list[Health] = []
        streams.append(heard)

        async def send(report: Health) -> None:
            heard.append(report)

        return asyncio.create_task(reporter.report(send))

    first = stream()
    await until(lambda: streams[0])
    health["a"] = OUT
    reporter.changed()
    await until(lambda: len(streams[0]) == 2)
    reporter.changed()
    await until(lambda: len(slept) >= 2)
    assert streams[0] == [Health({"a": UP, "b": UP}), Health({"a": Evidence(NOW, NOW, "down", NOW)})]
    assert set(slept) == {0.2}, "what happens within a moment of it travels with it"
    first.cancel()
    second = stream()
    await until(lambda: streams[1])
    assert streams[1] == [Health({"a": Evidence(NOW, NOW, "down", NOW), "b": UP})]
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)


async def test_answers_that_change_nothing_are_reported_every_now_and_then() -> None:
    answered = {"a": NOW}
    heard: list[float] = []

    async def send(report: Health) -> None:
        heard.append(report.providers["a"].success_s)
        answered["a"] += 1

    task = asyncio.create_task(HealthReporter(answered, {}, dict, QUIET, ReportIntervals(0.0, 0.01)).report(send))
    await until(lambda: len(heard) >= 3)
    task.cancel()
    assert heard[:3] == [NOW, NOW + 1, NOW + 2]
