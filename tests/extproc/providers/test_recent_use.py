"""The sliding minute and the requests under way: rules that hold whatever arrives when."""

from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.providers.recent_use import LONGEST_S, SlidingMinute, UnderWay

TIMES = st.lists(st.floats(0, 200), min_size=1, max_size=60).map(sorted)


@given(TIMES, st.floats(0, 61))
def test_the_sum_is_at_least_that_of_the_last_minute_and_forgets_a_second_later(
    times: list[float], later: float
) -> None:
    minute = SlidingMinute()
    for time_s in times:
        minute.add(1, time_s)
    now_s = times[-1] + later
    assert minute.total(now_s) >= sum(now_s - 60 <= each for each in times)
    assert minute.total(now_s) <= sum(now_s - 62 < each for each in times)


def test_it_counts_each_second_for_a_whole_minute() -> None:
    minute = SlidingMinute()
    minute.add(3, 10.9)
    minute.add(4, 11.0)
    assert [minute.total(at_s) for at_s in (11.0, 70.9, 71.0, 71.9, 72.0)] == [7, 7, 4, 4, 0]


def test_what_is_taken_back_is_taken_from_when_it_was_added() -> None:
    minute = SlidingMinute()
    minute.add(100, 10.0)
    minute.add(50, 20.0)
    minute.take_back(70, 10.5)
    assert minute.total(20.0) == 80
    minute.take_back(70, 20.0)
    assert (minute.total(20.0), minute.total(71.5)) == (30, 0)
    minute.take_back(70, 20.0)
    minute.take_back(70, 500.0)
    assert minute.total(72.0) == 0


@given(st.lists(st.tuples(st.sampled_from(["add", "take back"]), st.integers(0, 50), st.floats(0, 3))))
def test_the_sum_is_never_negative(steps: list[tuple[str, int, float]]) -> None:
    minute, now_s = SlidingMinute(), 0.0
    for what, amount, passed_s in steps:
        now_s += passed_s
        if what == "add":
            minute.add(amount, now_s)
        else:
            minute.take_back(amount, now_s - passed_s)
        assert minute.total(now_s) >= 0


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=60))
def test_requests_under_way_are_those_begun_and_not_ended(steps: list[tuple[bool, int]]) -> None:
    under_way = UnderWay()
    expected: list[float] = []
    for begins, name in steps:
        if begins:
            under_way.begin(float(name), 5.0)
            expected.append(float(name))
        else:
            known = float(name) in expected
            assert under_way.end(float(name)) == (5.0 if known else None)
            if known:
                expected.remove(float(name))
        assert under_way.count(5.0) == len(expected)


def test_a_request_whose_end_is_never_heard_of_is_given_up() -> None:
    under_way = UnderWay()
    under_way.begin(1.0, 100.0)
    under_way.begin(2.0, 160.0)
    assert under_way.count(99.9 + LONGEST_S) == 2
    assert under_way.count(100.0 + LONGEST_S) == 1
    assert under_way.end(1.0) is None
    assert under_way.end(2.0) == 160.0
    assert under_way.count(100.0 + LONGEST_S) == 0
