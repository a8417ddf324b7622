"""Verdicts change with so many outcomes in a row, and with nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.health_stream import VERDICTS, Verdict
from limpet_operator.probe.judge import NEW, Standing, judged, unsettled, worse
from limpet_operator.probe.outcome import Outcome
from limpet_operator.resources.healthprobe import Thresholds

UP = Outcome("Up", status=200)
SLOW = Outcome("Degraded", "SlowFirstByte", 200)
LIMITED = Outcome("Limited", "Limited", 429)
DOWN = Outcome("Down", "ServerError", 500)
REFUSED = Outcome("Down", "CredentialRefused", 401, "wrong key")
UNCLEAR = Outcome(None, "BadRequest", 400)
NOT_SENT = Outcome(None, not_sent="nobody is there")
OUTCOMES = [UP, SLOW, LIMITED, DOWN, REFUSED, UNCLEAR, NOT_SENT]

USUAL = Thresholds(failures_to_down=3, successes_to_up=2, degraded_after_s=2.0)


def after(*outcomes: Outcome, thresholds: Thresholds = USUAL, begin: Standing = NEW) -> Standing:
    standing = begin
    for number, outcome in enumerate(outcomes, 1):
        standing = judged(standing, outcome, thresholds, float(number))
    return standing


def test_the_first_success_is_a_verdict_and_the_first_failure_is_none() -> None:
    assert after(UP).verdict == "Up"
    assert after(DOWN).verdict is None
    assert after(DOWN, DOWN).verdict is None
    assert after(DOWN, DOWN, UP).verdict == "Up"
    down = after(DOWN, DOWN, REFUSED)
    assert (down.verdict, down.since_s, down.decided_by) == ("Down", 3.0, REFUSED)


def test_it_takes_the_thresholds_to_go_down_and_to_come_back() -> None:
    up = after(UP)
    assert after(DOWN, DOWN, UP, DOWN, DOWN, begin=up).verdict == "Up"
    down = after(DOWN, DOWN, DOWN, begin=up)
    assert down.verdict == "Down"
    assert after(UP, DOWN, UP, begin=down).verdict == "Down"
    assert after(UP, UP, begin=down).verdict == "Up"


def test_what_is_limited_or_slow_is_never_down() -> None:
    assert after(UP, *[LIMITED] * 50).verdict == "Limited"
    assert after(UP, *[SLOW] * 50).verdict == "Degraded"
    mixed = after(UP, DOWN, LIMITED, DOWN)
    assert (mixed.verdict, mixed.decided_by) == ("Limited", LIMITED)


def test_a_provider_that_comes_back_slow_or_limited_is_what_the_worst_of_its_answers_says() -> None:
    down = after(DOWN, DOWN, DOWN)
    assert after(UP, SLOW, begin=down).verdict == "Degraded"
    assert after(LIMITED, UP, begin=down).verdict == "Limited"


def test_the_cause_follows_the_answers_and_the_words_stay_the_first() -> None:
    down = after(DOWN, DOWN, DOWN)
    other_words = DOWN._replace(message="request 2 failed")
    assert after(other_words, begin=down).decided_by == DOWN
    refused = after(REFUSED, begin=down)
    assert (refused.decided_by, refused.since_s) == (REFUSED, 3.0)
    assert refused.whole_provider
    assert not down.whole_provider


def test_what_shows_nothing_changes_nothing_but_what_is_known_of_the_last_probe() -> None:
    for nothing in (UNCLEAR, NOT_SENT):
        standing = after(DOWN, DOWN, nothing)
        assert (standing.verdict, standing.run, standing.last) == (None, 2, nothing)
        assert after(DOWN, begin=standing).verdict == "Down"


def test_a_verdict_ends_where_the_provider_finds_the_probe_wrong_each_time() -> None:
    down = after(DOWN, DOWN, DOWN)
    assert after(UNCLEAR, UNCLEAR, begin=down).verdict == "Down"
    assert after(UNCLEAR, UNCLEAR, DOWN, UNCLEAR, begin=down).verdict == "Down"
    ended = after(UNCLEAR, UNCLEAR, NOT_SENT, UNCLEAR, begin=down)
    assert (ended.verdict, ended.settled, ended.last) == (None, True, UNCLEAR)
    assert after(UP, begin=ended).verdict == "Up"
    assert after(DOWN, DOWN, DOWN, begin=ended).verdict == "Down"


def test_after_a_change_the_verdict_stands_until_two_answers_agree_or_enough_do_not() -> None:
    down = after(REFUSED, REFUSED, REFUSED)
    assert down.settled
    changed = unsettled(down)
    assert (changed.verdict, changed.settled) == ("Down", False)
    assert not after(REFUSED, begin=changed).settled
    assert after(REFUSED, REFUSED, begin=changed).settled
    fixed = after(REFUSED, UP, UP, begin=changed)
    assert (fixed.verdict, fixed.settled) == ("Up", True)


def test_what_is_sent_and_shows_nothing_is_not_repeated_often() -> None:
    assert after(UNCLEAR).settled
    assert not after(NOT_SENT).settled


def test_each_verdict_is_worse_than_those_before_it() -> None:
    for index, verdict in enumerate(VERDICTS):
        assert [worse(verdict, other) for other in VERDICTS] == [other < index for other in range(4)]


THRESHOLDS = st.builds(
    Thresholds,
    failures_to_down=st.integers(1, 5),
    successes_to_up=st.integers(1, 5),
    degraded_after_s=st.none(),
)
HISTORIES = st.lists(st.sampled_from(OUTCOMES), max_size=60)


@given(HISTORIES, THRESHOLDS)
def test_a_verdict_changes_only_after_a_run_of_outcomes_that_all_speak_against_it(
    history: list[Outcome], thresholds: Thresholds
) -> None:
    standing = NEW
    for end, outcome in enumerate(history, 1):
        before, standing = standing, judged(standing, outcome, thresholds, float(end))
        if standing.verdict == before.verdict or before.verdict is None:
            continue
        was, now = before.verdict, standing.verdict
        if now is None:
            answers = [each for each in history[:end] if not each.not_sent][-thresholds.failures_to_down :]
            assert [each.blames_probe for each in answers] == [True] * thresholds.failures_to_down
            continue
        needed = thresholds.failures_to_down if worse(now, was) else thresholds.successes_to_up
        levels = [each.level for each in history[:end] if each.level is not None][-needed:]
        assert len(levels) == needed
        assert all(worse(level, was) if worse(now, was) else worse(was, level) for level in levels)
        # It is never further away than what every one of them supports.
        assert all(not worse(now, level) if worse(now, was) else not worse(level, now) for level in levels)


@given(HISTORIES, THRESHOLDS, st.sampled_from([UP, SLOW, LIMITED, DOWN, REFUSED]))
def test_whatever_was_before_the_same_answer_for_long_enough_is_believed(
    history: list[Outcome], thresholds: Thresholds, outcome: Outcome
) -> None:
    standing = after(*history, *[outcome] * 12, thresholds=thresholds)
    assert standing.verdict == outcome.level
    assert standing.decided_by.says_the_same_as(outcome)
    assert standing.settled


@given(HISTORIES, THRESHOLDS)
def test_a_history_that_alternates_does_not_flap(history: list[Outcome], thresholds: Thresholds) -> None:
    """Where both thresholds are above one, single outcomes in between never change anything."""
    if min(thresholds.failures_to_down, thresholds.successes_to_up) < 2:
        return
    standing = after(*history, *[UP] * 12, thresholds=thresholds)
    verdicts: set[Verdict | None] = set()
    for number in range(40):
        standing = judged(standing, (DOWN, UP)[number % 2], thresholds, 100.0 + number)
        verdicts.add(standing.verdict)
    assert verdicts == {"Up"}


@given(HISTORIES, THRESHOLDS)
def test_without_a_failed_answer_nothing_is_ever_down(history: list[Outcome], thresholds: Thresholds) -> None:
    mild = [each for each in history if each.level != "Down"]
    standing = NEW
    for outcome in mild:
        standing = judged(standing, outcome, thresholds, 1.0)
        assert standing.verdict != "Down"
