"""A worker's reports on its providers: the right thing, soon, once, and everything to a new stream."""

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.hand_clock import HandClock
from tests.waiting import until

from limpet_extproc.contract.attempt import Attempt, Cause
from limpet_extproc.contract.catalog import MAX_MODELS_REPORTED, CacheUse, Evidence, EvidenceReport, ModelEvidence
from limpet_extproc.contract.health_stream import Probed
from limpet_extproc.decision.health import TROUBLES
from limpet_extproc.operator_link.evidence import ASKED_LATELY_S, EvidenceReporter, ReportIntervals, evidence
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
        self,
        before: Evidence | None = None,
        cache: CacheUse | None = None,
        complaints: Complaints = QUIET,
        timeouts: int = 0,
    ) -> Evidence | None:
        known = {"a": before} if before is not None else {}
        caches = {"a": cache} if cache is not None else {}
        return evidence(known, self.tracker, caches, complaints, {"a": timeouts}, self.clock.now_s).get("a")


def failed(model: str = "flash", cause: Cause = "ServerError") -> AttemptFailed:
    return AttemptFailed("a", model, cause)


def model(name: str, *, success_s: float = 0.0, out_s: float = 0.0, **more: Any) -> ModelEvidence:
    """A model that answered last at `success_s`, or has been down since `out_s`."""
    if out_s:
        more = {"failure_s": out_s, "trouble": "down", "cause": "ServerError"} | more
    return ModelEvidence(name, success_s, since_s=out_s or success_s, **more)


FAIL, OK, CUT = failed(), AttemptSucceeded("a", "flash"), failed(cause="ConnectionFailed")
DOWN = Evidence(0.0, NOW + 3, "down", NOW + 3, cause="ConnectionFailed")
FLASH_DOWN = Evidence(models=(model("flash", out_s=NOW + 3),))

CASES: list[tuple[str, list[ProviderEvent], Evidence | None]] = [
    ("nothing of a provider that only failed once", [CUT], None),
    (
        "the first answer",
        [OK],
        Evidence(NOW + 1, since_s=NOW + 1, models=(model("flash", success_s=NOW + 1),)),
    ),
    ("three failures to connect take it out", [CUT] * 3, DOWN),
    ("a failure during the pause is no news", [CUT] * 4, DOWN),
    ("a failed trial is a later failure", [CUT] * 9, msgspec.structs.replace(DOWN, failure_s=NOW + 8)),
    ("three bad answers take out the model alone", [FAIL] * 3, FLASH_DOWN),
    (
        "its last answer is reported all the same",
        [OK, *[FAIL] * 3],
        Evidence(NOW + 1, since_s=NOW + 1, models=(model("flash", success_s=NOW + 1, out_s=NOW + 4),)),
    ),
    (
        "another model answers, and the worst comes first",
        [*[failed("pro")] * 3, OK],
        Evidence(NOW + 4, since_s=NOW + 4, models=(model("pro", out_s=NOW + 3), model("flash", success_s=NOW + 4))),
    ),
    (
        "a 429",
        [AttemptLimited("a", "flash", 30.0)],
        Evidence(models=(model("flash", out_s=NOW + 1, trouble="over_limit", cause="Limited"),)),
    ),
    (
        "degraded",
        [OK, FAIL] * 5,
        Evidence(
            NOW + 9,
            since_s=NOW + 9,
            models=(model("flash", success_s=NOW + 9, out_s=NOW + 10, trouble="degraded", cause="ErrorRate"),),
        ),
    ),
    ("back", [*[CUT] * 3, OK], Evidence(NOW + 4, since_s=NOW + 4, models=(model("flash", success_s=NOW + 4),))),
]


@pytest.mark.parametrize(("story", "reported"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
def test_the_evidence_on_a_provider(story: list[ProviderEvent], reported: Evidence | None) -> None:
    seen = Seen(*story)
    found = seen.evidence()
    assert found == reported
    assert found is None or seen.evidence(found) is found, "the same object: so nothing is reported twice"


def test_what_its_timeouts_ended_is_reported_too() -> None:
    found = Seen(OK).evidence(timeouts=3)
    assert found is not None
    assert found.timeouts == 3


def test_a_model_that_nobody_asks_for_is_no_longer_reported_unless_it_is_in_trouble() -> None:
    seen = Seen(OK, *[failed("pro")] * 3)
    seen.clock.now_s += ASKED_LATELY_S
    found = seen.evidence()
    assert found is not None
    assert [each.model for each in found.models] == ["pro"]


def test_of_very_many_models_the_worst_are_reported() -> None:
    seen = Seen(*(AttemptSucceeded("a", f"m{number:03}") for number in range(100)), *[failed("z")] * 3)
    found = seen.evidence()
    assert found is not None
    assert len(found.models) == MAX_MODELS_REPORTED
    assert found.models[0].model == "z"


def test_more_answers_do_not_start_a_run_of_answers_again() -> None:
    seen = Seen(OK)
    first = seen.evidence()
    later = seen.tell(FAIL, OK).evidence(first)
    assert later is not None
    assert (later.success_s, later.since_s, later.models[0].since_s) == (NOW + 3, NOW + 1, NOW + 1)


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
GONE = Attempt("a", "flash", 404, "failed", "ModelNotFound", "no such model")


def complaining(*attempts: Attempt) -> Complaints:
    complaints = Complaints(lambda: None)
    for attempt in attempts:
        complaints.add(attempt, NOW)
    return complaints


OUT: list[ProviderEvent] = [OK, *[FAIL] * 3]
KEY, SAID = ("CredentialRefused", 401, "Incorrect API key"), ("ServerError", 503, "try later")
MISSING = ("ModelNotFound", 404, "no such model")
NONE = ("", 0, "")

WORDS: list[tuple[str, list[Attempt], list[ProviderEvent], tuple[str, int, str], tuple[str, int, str]]] = [
    # case, failed attempts, events, and the reported cause, status and words: of the provider, and of the model
    ("a refused key, though it is not out", [REFUSED], [], KEY, NONE),
    ("and though it answered before", [REFUSED], [OK], KEY, NONE),
    ("nothing of a failure that passes unaided", [BROKEN], [OK], NONE, NONE),
    ("unless the model is out", [BROKEN], OUT, NONE, SAID),
    ("or has never answered", [BROKEN], [FAIL], NONE, SAID),
    ("but not for other trouble than it is out for", [GONE, BROKEN], [OK, AttemptLimited("a", "flash", 9.0)], NONE,
     MISSING),
    ("what a person can settle before what passes", [GONE, BROKEN], OUT, NONE, MISSING),
]  # fmt: skip


@pytest.mark.parametrize(
    ("received", "story", "of_provider", "of_model"), [c[1:] for c in WORDS], ids=[c[0] for c in WORDS]
)
def test_what_is_wrong_is_reported_in_the_providers_words(
    received: list[Attempt],
    story: list[ProviderEvent],
    of_provider: tuple[str, int, str],
    of_model: tuple[str, int, str],
) -> None:
    found = Seen(*story).evidence(complaints=complaining(*received))
    assert found is not None
    assert (found.cause, found.status, found.message) == of_provider
    words = [(each.cause, each.status, each.message) for each in found.models]
    assert (words or [NONE]) == [of_model]


STORIES = st.lists(
    st.sampled_from([OK, FAIL, CUT, AttemptLimited("a", "flash", 5.0), TrialBegan("a", "flash"), None]), max_size=40
)


@given(STORIES)
def test_it_always_agrees_with_what_the_worker_decides_by(story: list[ProviderEvent | None]) -> None:
    seen, known = Seen(), None
    for event in [*story, None]:
        if event is not None:
            seen.tell(event)
            continue
        known = seen.evidence(known)
        judged = seen.tracker.states.judge("a", "flash", seen.clock.now_s)
        troubles = [known.trouble, *(each.trouble for each in known.models)] if known else [None]
        assert max(troubles, key=TROUBLES.index) == judged.trouble
        reported: list[Evidence | ModelEvidence] = [known, *known.models] if known else []
        for each in reported:
            if each.trouble is not None or each.success_s:
                assert 0 < each.since_s <= max(each.success_s, each.failure_s) <= seen.clock.now_s


async def test_news_is_reported_once_and_soon_and_a_new_stream_gets_everything() -> None:
    seen, slept = Seen(), list[float]()
    seen.tracker.apply(OK)
    seen.tracker.apply(AttemptSucceeded("b", "flash"))
    up = Evidence(NOW, since_s=NOW, models=(model("flash", success_s=NOW),))
    down = Evidence(NOW, since_s=NOW, models=(model("flash", success_s=NOW, out_s=NOW),))

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    reporter = EvidenceReporter(seen.tracker, dict, QUIET, dict, seen.clock, ReportIntervals(0.2, 60.0), sleep=sleep)
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

    reporter = EvidenceReporter(seen.tracker, dict, QUIET, dict, seen.clock, ReportIntervals(0.0, 0.01))
    task = asyncio.create_task(reporter.report(send))
    await until(lambda: len(received) >= 3)
    task.cancel()
    assert received[:3] == [NOW + 1, NOW + 2, NOW + 3]


def test_what_probes_have_ended_is_withdrawn_although_nothing_was_ever_answered() -> None:
    seen = Seen(CUT, CUT, CUT)
    down = seen.evidence()
    assert down == DOWN
    seen.clock.now_s += 6
    seen.tracker.take_probed([Probed("a", "Up", since_s=NOW, good_age_s=0.5)], 30.0)
    back = seen.evidence(down)
    assert back is not None
    assert (back.trouble, back.cause, back.success_s) == (None, "", 0.0)
