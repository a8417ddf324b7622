"""Every provider is probed as often as its probe says, soon after a change, never twice at once, never all at once."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from limpet_operator.probe.schedule import (
    APART_S,
    JITTER,
    SOON_AGAIN,
    UNSETTLED_S,
    Pair,
    ProbeSchedule,
    ended,
    planned,
    reachable,
    started,
)
from limpet_operator.resources.problem import ObjectKey

PROBE = ObjectKey("HealthProbe", "default", "all")


def pair(number: int) -> Pair:
    return Pair(PROBE, f"p{number}")


def intervals(count: int, seconds: float) -> dict[Pair, float]:
    return {pair(number): seconds for number in range(count)}


def play(
    schedule: ProbeSchedule,
    until_s: float,
    random: Random,
    *,
    takes_s: float = 0.0,
    sent: bool = True,
    settled: Callable[[Pair, int], bool] = lambda _pair, _count: True,
) -> list[tuple[float, Pair]]:
    """When each probe starts, if every one of them takes so long; time goes from event to event."""
    starts: list[tuple[float, Pair]] = []
    ends: list[tuple[float, Pair]] = []
    counts: Counter[Pair] = Counter()
    while True:
        times = [at for at in (schedule.next_s(), *(end for end, _ in ends)) if at is not None]
        if not times or min(times) > until_s:
            return starts
        now_s = min(times)
        for end in [end for end in ends if end[0] <= now_s]:
            ends.remove(end)
            schedule = ended(schedule, end[1], now_s, random, settled=settled(end[1], counts[end[1]]), sent=sent)
        due = schedule.due(now_s)
        schedule = started(schedule, due, now_s)
        for each in due:
            counts[each] += 1
            starts.append((now_s, each))
            ends.append((now_s + takes_s, each))


def test_a_new_pair_starts_soon_and_then_at_its_interval() -> None:
    schedule = planned(ProbeSchedule(), intervals(1, 30.0), (), 100.0, Random(1))
    starts = [at for at, _ in play(schedule, 400.0, Random(2))]
    assert 100.0 <= starts[0] <= 100.0 + APART_S
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert all(30.0 * (1 - JITTER) <= gap <= 30.0 * (1 + JITTER) for gap in gaps)
    assert len({round(gap, 3) for gap in gaps}) == len(gaps)


def test_a_thousand_providers_are_no_burst() -> None:
    schedule = planned(ProbeSchedule(), intervals(1000, 30.0), (), 0.0, Random(3))
    starts = [at for at, _ in play(schedule, 29.0, Random(4), takes_s=0.1)]
    assert len(set(starts)) == len(starts) >= 1000
    assert max(Counter(int(at) for at in starts).values()) <= 1.5 / APART_S


def test_probes_that_began_together_drift_apart() -> None:
    schedule = planned(ProbeSchedule(), intervals(100, 10.0), (), 0.0, Random(3))
    starts = [at for at, _ in play(schedule, 600.0, Random(4))]
    per_second = Counter(int(at) for at in starts)
    assert max(per_second[second] for second in range(2)) > 40
    assert max(per_second[second] for second in range(500, 600)) < 25
    assert 0.95 * 6000 < len(starts) < 1.05 * 6000 + 100


def test_what_is_not_settled_is_probed_again_after_a_second() -> None:
    schedule = planned(ProbeSchedule(), intervals(1, 30.0), (), 0.0, Random(5))
    starts = [at for at, _ in play(schedule, 60.0, Random(6), settled=lambda _, count: count >= 3)]
    assert starts[2] < 2 * UNSETTLED_S * (1 + JITTER) + APART_S
    assert starts[3] - starts[2] > 20.0


def test_what_is_never_sent_is_tried_less_and_less_often_down_to_its_interval() -> None:
    schedule = planned(ProbeSchedule(), intervals(1, 600.0), (), 0.0, Random(5))
    starts = [at for at, _ in play(schedule, 6000.0, Random(6), settled=lambda _pair, _count: False, sent=False)]
    gaps = [later - earlier for earlier, later in pairwise(starts)]
    assert max(gaps[:SOON_AGAIN]) <= UNSETTLED_S * (1 + JITTER)
    assert all(gap > 1.5 * before for before, gap in pairwise(gaps[SOON_AGAIN - 1 : 11]))
    assert min(gaps[14:]) >= 600.0 * (1 - JITTER)


def test_when_there_is_a_way_again_what_was_not_sent_is_sent_soon() -> None:
    random = Random(7)
    schedule = planned(ProbeSchedule(), intervals(2, 600.0), (), 0.0, random)
    for _ in range(20):
        now_s = schedule.next_s() or 0.0
        due = schedule.due(now_s)
        schedule = started(schedule, due, now_s)
        for each in due:
            schedule = ended(schedule, each, now_s, random, settled=False, sent=each == pair(1))
    now_s += UNSETTLED_S
    before = schedule.slots
    after = reachable(schedule, now_s, random).slots
    assert (after[pair(0)].due_s or 0) <= now_s + APART_S
    assert after[pair(1)] == before[pair(1)]


def test_what_changes_all_the_time_is_probed_no_more_often_than_what_is_unsettled() -> None:
    random, schedule, starts = Random(7), ProbeSchedule(), list[float]()
    for step in range(200):
        now_s = step * 0.1
        schedule = planned(schedule, intervals(1, 600.0), {pair(0)}, now_s, random)
        for each in schedule.due(now_s):
            starts.append(now_s)
            schedule = ended(started(schedule, [each], now_s), each, now_s, random)
    assert 15 <= len(starts) <= 20


def test_a_change_makes_a_probe_due_soon_and_leaves_the_others_as_they_are() -> None:
    random = Random(7)
    schedule = planned(ProbeSchedule(), intervals(3, 30.0), (), 0.0, random)
    for each in schedule.due(1.0):
        schedule = ended(started(schedule, [each], 0.0), each, 0.1, random)
    before = schedule.slots
    after = planned(schedule, intervals(3, 30.0), {pair(1)}, 5.0, random).slots
    assert 5.0 <= (after[pair(1)].due_s or 0) <= 5.0 + APART_S
    assert [after[pair(number)] for number in (0, 2)] == [before[pair(number)] for number in (0, 2)]


def test_a_shorter_interval_holds_at_once_and_what_is_gone_is_not_probed() -> None:
    schedule = planned(ProbeSchedule(), intervals(2, 3600.0), (), 0.0, Random(8))
    for each in schedule.due(1.0):
        schedule = ended(started(schedule, [each], 0.0), each, 0.1, Random(9))
    schedule = planned(schedule, intervals(1, 10.0), (), 5.0, Random(10))
    assert list(schedule.slots) == [pair(0)]
    assert (schedule.next_s() or 0) <= 15.0
    assert ended(schedule, pair(1), 5.0, Random(11)) is schedule


@given(st.data())
def test_a_pair_is_never_probed_twice_at_once_whatever_changes_meanwhile(data: st.DataObject) -> None:
    random = Random(data.draw(st.integers(0, 1000)))
    schedule, under_way, now_s = ProbeSchedule(), set[Pair](), 0.0
    wanted = intervals(4, 2.0)
    for _ in range(30):
        now_s += data.draw(st.floats(0, 2.0))
        match data.draw(st.sampled_from(["plan", "start", "end"])):
            case "plan":
                changed = data.draw(st.sets(st.sampled_from(sorted(wanted))))
                schedule = planned(schedule, wanted, changed, now_s, random)
            case "start":
                due = schedule.due(now_s)
                assert not under_way & set(due)
                schedule, under_way = started(schedule, due, now_s), under_way | set(due)
            case _ if under_way:
                each = data.draw(st.sampled_from(sorted(under_way)))
                under_way.remove(each)
                settled, sent = data.draw(st.booleans()), data.draw(st.booleans())
                schedule = ended(schedule, each, now_s, random, settled=settled, sent=sent)
                assert (schedule.slots[each].due_s or 0) >= now_s


@given(st.floats(0.5, 1000.0), st.floats(0, 5.0), st.integers(0, 10_000))
def test_no_pair_is_probed_more_often_than_its_interval_allows(interval_s: float, takes_s: float, seed: int) -> None:
    schedule = planned(ProbeSchedule(), intervals(3, interval_s), (), 0.0, Random(seed))
    starts = play(schedule, interval_s * 20, Random(seed + 1), takes_s=takes_s)
    for number in range(3):
        own = [at for at, each in starts if each == pair(number)]
        gaps = [later - earlier for earlier, later in pairwise(own)]
        assert all(gap >= interval_s * (1 - JITTER) - 1e-6 and gap >= takes_s - 1e-6 for gap in gaps)
