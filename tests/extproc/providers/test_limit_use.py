"""What providers with limits are asked for: own requests, those of siblings, and the reports of other gateways."""

from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.catalog import Limits
from limpet_extproc.decision.limits import UNUSED, Used, is_full
from limpet_extproc.providers.limit_events import LimitEvent, RequestEnded, RequestSent, UseReported
from limpet_extproc.providers.limit_use import REPORT_HOLDS_S, LimitUse
from limpet_extproc.providers.recent_use import LONGEST_S


class Clock:
    """The only time there is."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Workers:
    """Workers beside one Envoy, and the reports of each."""

    def __init__(self, count: int) -> None:
        self.clock = Clock()
        self.all = [LimitUse(f"node/{number}", self.clock) for number in range(count)]

    def tell(self, number: int, event: LimitEvent) -> None:
        """Something happens at one, and the others hear of it."""
        for other, use in enumerate(self.all):
            (use.apply if other == number else use.apply_received)(event)

    def used(self) -> list[Used]:
        return [use.used("a", self.clock.now_s) for use in self.all]


@pytest.fixture
def workers() -> Workers:
    return Workers(2)


def test_siblings_count_each_others_requests(workers: Workers) -> None:
    workers.tell(0, RequestSent("a", 1.0, 500))
    workers.tell(1, RequestSent("a", 1.5, 700))
    assert workers.used() == [Used(2, 2, 1200)] * 2


def test_a_request_ends_at_whichever_worker_gets_its_log_entry(workers: Workers) -> None:
    workers.tell(0, RequestSent("a", 1.0, 500))
    workers.tell(1, RequestEnded("a", 1.0, 250))
    assert workers.used() == [Used(0, 1, 750)] * 2


def test_tokens_that_were_not_used_are_given_back_where_they_were_counted(workers: Workers) -> None:
    workers.tell(0, RequestSent("a", 1.0, 500))
    workers.clock.now_s += 30
    workers.tell(0, RequestSent("a", 2.0, 500))
    workers.tell(0, RequestEnded("a", 1.0, -500))
    assert workers.used() == [Used(1, 2, 500)] * 2
    workers.clock.now_s += 40
    assert workers.used() == [Used(1, 1, 500)] * 2


def test_an_end_without_a_beginning_counts_nothing(workers: Workers) -> None:
    workers.tell(0, RequestEnded("a", 1.0, 500))
    assert workers.used() == [UNUSED] * 2


def test_a_request_whose_log_entry_never_comes_frees_its_place_in_the_end(workers: Workers) -> None:
    workers.tell(0, RequestSent("a", 1.0, 500))
    workers.clock.now_s += LONGEST_S - 1
    assert workers.used()[0] == Used(1, 0, 0)
    workers.clock.now_s += 1
    assert workers.used() == [UNUSED] * 2


def test_the_requests_of_an_envoy_that_is_gone_are_no_longer_under_way(workers: Workers) -> None:
    workers.tell(0, RequestSent("a", 1.0, 500))
    workers.tell(1, RequestSent("a", 1.5, 700))
    near = workers.all[0]
    near.apply_received(UseReported("a", "far/0", 4, 40, 400))
    near.forget_under_way()
    assert near.used("a", workers.clock.now_s) == Used(4, 42, 1600)
    workers.tell(0, RequestEnded("a", 1.5))
    assert near.used("a", workers.clock.now_s).under_way == 4


def test_other_gateways_are_told_only_what_a_worker_uses_itself(workers: Workers) -> None:
    workers.tell(0, RequestSent("a", 1.0, 500))
    workers.tell(1, RequestSent("a", 1.5, 700))
    workers.tell(1, RequestSent("b", 1.6, 10))
    assert [use.reports() for use in workers.all] == [
        [UseReported("a", "node/0", 1, 1, 500)],
        [UseReported("a", "node/1", 1, 1, 700), UseReported("b", "node/1", 1, 1, 10)],
    ]


def test_a_report_replaces_the_one_before(workers: Workers) -> None:
    use = workers.all[0]
    use.apply_received(UseReported("a", "far/0", 4, 40, 400))
    use.apply_received(UseReported("a", "far/1", 1, 1, 1))
    use.apply_received(UseReported("a", "far/0", 5, 50, 500))
    assert use.used("a", workers.clock.now_s) == Used(6, 51, 501)


def test_the_last_report_says_that_nothing_is_used_any_more(workers: Workers) -> None:
    near, far = workers.all
    near.apply(RequestSent("a", 1.0, 500))
    told = near.reports()
    near.apply(RequestEnded("a", 1.0))
    workers.clock.now_s += 62
    told += near.reports()
    assert told[-1] == UseReported("a", "node/0", 0, 0, 0)
    assert near.reports() == []
    for report in told:
        far.apply_received(report)
    assert far.used("a", workers.clock.now_s) == UNUSED


def test_the_reports_of_a_worker_that_is_gone_count_for_a_minute(workers: Workers) -> None:
    use = workers.all[0]
    use.apply_received(UseReported("a", "far/0", 4, 40, 400))
    workers.clock.now_s += REPORT_HOLDS_S - 1
    assert use.reports() == []
    assert use.used("a", workers.clock.now_s) == Used(4, 40, 400)
    workers.clock.now_s += 1
    assert use.reports() == []
    assert use.used("a", workers.clock.now_s) == UNUSED


def test_nothing_is_kept_of_a_provider_that_is_not_used_any_more(workers: Workers) -> None:
    use = workers.all[0]
    use.apply(RequestSent("a", 1.0, 500))
    workers.clock.now_s += LONGEST_S
    assert use.reports() == []
    assert use.known == 0
    use.apply(RequestSent("a", 2.0, 500))
    assert (len(use.reports()), use.known) == (1, 1)


def test_what_was_under_way_when_a_limit_went_is_not_under_way_when_it_comes_back(workers: Workers) -> None:
    use = workers.all[0]
    use.apply(RequestSent("a", workers.clock(), 100))
    use.apply(RequestSent("b", workers.clock(), 100))
    use.keep({"b"})
    use.keep({"a", "b"})
    assert use.used("a", workers.clock()) == UNUSED
    assert use.used("b", workers.clock()).under_way == 1


def test_the_share_of_each_limit_is_shown_for_idle_providers_too(workers: Workers) -> None:
    use = workers.all[0]
    use.apply(RequestSent("a", 1.0, 500))
    shown = use.ratios({"a": Limits(4, None, 1000), "b": Limits(None, 10)})
    assert shown == {
        ("a", "concurrentRequests"): 0.25,
        ("a", "tokensPerMinute"): 0.5,
        ("b", "requestsPerMinute"): 0.0,
    }


LIMITS = Limits(concurrent_requests=3, requests_per_minute=8, tokens_per_minute=5000)


@given(
    st.lists(st.tuples(st.floats(0, 20), st.integers(1, 2000), st.floats(0, 90)), min_size=1, max_size=80),
    st.integers(0, 1000),
)
def test_one_worker_never_exceeds_a_limit(arrivals: list[tuple[float, int, float]], seed: int) -> None:
    """Requests arrive at random, each is sent if there is room, and ends after a while with other tokens than expected.

    In no minute are there more than the limits allow, as far as was known when each was sent.
    """
    clock, random = Clock(), Random(seed)
    use = LimitUse("node/0", clock)
    sent: list[tuple[float, int]] = []
    running: list[tuple[float, float, int]] = []
    for pause_s, tokens, lasts_s in arrivals:
        until_s = clock.now_s + pause_s
        for ends_s, started_s, counted in sorted(running):
            if ends_s <= until_s:
                clock.now_s = max(clock.now_s, ends_s)
                running.remove((ends_s, started_s, counted))
                use.apply(RequestEnded("a", started_s, -random.randint(0, counted)))
        clock.now_s = until_s
        if is_full(LIMITS, use.used("a", clock.now_s), tokens):
            continue
        use.apply(RequestSent("a", clock.now_s, tokens))
        sent.append((clock.now_s, tokens))
        running.append((clock.now_s + lasts_s, clock.now_s, tokens))
        assert len(running) <= 3
    for begin_s, _ in sent:
        assert sum(begin_s <= at_s <= begin_s + 60 for at_s, _ in sent) <= 8


@given(st.integers(2, 4), st.lists(st.tuples(st.sets(st.integers(0, 3)), st.floats(0, 20)), max_size=60))
def test_workers_exceed_a_limit_by_those_that_decide_before_they_hear_of_each_other(
    count: int, rounds: list[tuple[set[int], float]]
) -> None:
    """In each round some workers decide at the same instant; before the next one all have heard of it."""
    workers = Workers(count)
    limits = Limits(requests_per_minute=6)
    sent: list[float] = []
    for deciding, pause_s in rounds:
        now_s = workers.clock.now_s = workers.clock.now_s + pause_s
        going = [
            number
            for number in deciding
            if number < count and not is_full(limits, workers.all[number].used("a", now_s), 1)
        ]
        for number in going:
            workers.tell(number, RequestSent("a", now_s, 1))
            sent.append(now_s)
    for begin_s in sent:
        assert sum(begin_s <= at_s <= begin_s + 60 for at_s in sent) <= 6 + count - 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from([RequestSent, RequestEnded]), st.integers(0, 3), st.integers(-900, 900), st.floats(0, 30)
        ),
        max_size=60,
    )
)
def test_nothing_is_ever_below_zero(
    steps: list[tuple[Callable[[str, float, int], LimitEvent], int, int, float]],
) -> None:
    workers = Workers(2)
    for number, (event, name, tokens, pause_s) in enumerate(steps):
        workers.clock.now_s += pause_s
        counted = abs(tokens) if event is RequestSent else tokens
        workers.tell(number % 2, event("a", float(name), counted))
        for used in workers.used():
            assert min(used.under_way, used.requests, used.tokens) >= 0


@pytest.mark.parametrize(
    ("limits", "tokens", "wait_s"),
    [
        (Limits(requests_per_minute=4), 1, 0),
        (Limits(requests_per_minute=3), 1, 31),
        (Limits(requests_per_minute=2), 1, 41),
        (Limits(requests_per_minute=1), 1, 51),
        (Limits(tokens_per_minute=600), 100, 31),
        (Limits(tokens_per_minute=600), 300, 41),
        (Limits(tokens_per_minute=600), 900, 51),
        (Limits(requests_per_minute=2, tokens_per_minute=600), 600, 51),
    ],
)
def test_room_comes_when_what_was_used_is_a_minute_old(
    workers: Workers, limits: Limits, tokens: int, wait_s: int
) -> None:
    for number in range(3):
        workers.tell(number % 2, RequestSent("a", workers.clock.now_s, 200))
        workers.clock.now_s += 10
    assert [each.room_in_s("a", limits, tokens, workers.clock.now_s) for each in workers.all] == [wait_s] * 2


def test_what_others_report_leaves_evenly(workers: Workers) -> None:
    use, now_s = workers.all[0], workers.clock.now_s
    assert use.room_in_s("a", Limits(requests_per_minute=1), 1, now_s) == 0
    use.apply_received(UseReported("a", "elsewhere/0", 0, 60, 0))
    assert use.room_in_s("a", Limits(requests_per_minute=60), 1, now_s) == 1
    assert use.room_in_s("a", Limits(requests_per_minute=31), 1, now_s) == 30


@given(
    st.lists(st.tuples(st.floats(0, 20), st.integers(0, 500)), max_size=30),
    st.integers(1, 20),
    st.integers(1, 2_000),
    st.integers(0, 3_000),
)
def test_after_the_wait_there_is_room_and_a_second_before_there_is_none(
    sent: list[tuple[float, int]], requests: int, per_minute: int, tokens: int
) -> None:
    clock = Clock()
    use, limits = LimitUse("node/0", clock), Limits(requests_per_minute=requests, tokens_per_minute=per_minute)
    for number, (passed_s, size) in enumerate(sent):
        clock.now_s += passed_s
        use.apply(RequestSent("a", float(number), size))
        use.apply(RequestEnded("a", float(number)))
    now_s = clock.now_s
    wait_s = use.room_in_s("a", limits, tokens, now_s)
    assert not is_full(limits, use.used("a", now_s + wait_s), tokens)
    fresh = LimitUse("node/0", clock)
    clock.now_s = 1000.0
    for number, (passed_s, size) in enumerate(sent):
        clock.now_s += passed_s
        fresh.apply(RequestSent("a", float(number), size))
        fresh.apply(RequestEnded("a", float(number)))
    assert wait_s == 0 or is_full(limits, fresh.used("a", now_s + wait_s - 1), tokens)
