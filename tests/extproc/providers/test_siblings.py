"""Workers beside one Envoy share what happens to providers, and so arrive at the same states."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.clock_loop import pass_time, run
from tests.extproc.hand_clock import HandClock
from tests.waiting import until

from limpet_extproc.decision.slowness import Timing
from limpet_extproc.providers.event_reader import read_msgpack
from limpet_extproc.providers.events import (
    AnswerGenerated,
    AttemptFailed,
    AttemptLimited,
    AttemptSucceeded,
    ProviderDegraded,
    ProviderEvent,
    TrialBegan,
    WorkerEvent,
)
from limpet_extproc.providers.health_states import HealthChange
from limpet_extproc.providers.limit_events import EventsMissed, RequestEnded, RequestSent
from limpet_extproc.providers.limit_use import LimitUse
from limpet_extproc.providers.siblings import RETRY_S, Siblings, sibling_socket
from limpet_extproc.providers.tracker import ProviderTracker

PROVIDERS, MODELS = st.sampled_from("ab"), st.sampled_from(["m1", "m2"])
EVENTS = st.one_of(
    st.builds(AnswerGenerated, PROVIDERS, st.integers(0, 99), st.floats(0.1, 9.0), MODELS),
    st.builds(AttemptSucceeded, PROVIDERS, MODELS, st.none() | st.builds(Timing, st.floats(0.01, 1))),
    st.builds(AttemptFailed, PROVIDERS, MODELS, st.sampled_from(["ServerError", "ConnectionFailed"])),
    st.builds(TrialBegan, PROVIDERS, MODELS),
    st.builds(AttemptLimited, PROVIDERS, MODELS, st.none() | st.floats(0.1, 400)),
)


class Pair:
    """Two workers that receive each other's events at once, and what changed at each."""

    def __init__(self) -> None:
        self.changes: tuple[list[HealthChange], list[HealthChange]] = ([], [])
        self.clock = HandClock(1_000.0)
        self.workers = (
            ProviderTracker(
                self.clock, self.changes[0].append, to_siblings=lambda event: self.workers[1].apply_received(event)
            ),
            ProviderTracker(
                self.clock, self.changes[1].append, to_siblings=lambda event: self.workers[0].apply_received(event)
            ),
        )


@given(story=st.lists(st.tuples(EVENTS, st.integers(0, 1), st.floats(0, 30)), max_size=40))
def test_both_have_the_same_states_whichever_sees_an_event(story: list[tuple[ProviderEvent, int, float]]) -> None:
    pair = Pair()
    for event, seen_by, later_s in story:
        pair.clock.now_s += later_s
        pair.workers[seen_by].apply(event)
        one, other = pair.workers
        assert one.last_answer_s == other.last_answer_s
        assert one.states == other.states
    assert pair.changes[0] == pair.changes[1]


def test_failures_reported_here_and_the_answer_of_the_trial_there_end_an_outage() -> None:
    pair = Pair()
    failures, answers = pair.workers
    for _ in range(3):
        failures.apply(AttemptFailed("a", "m"))
    assert answers.states.judge("a", "m", 1_000.0).trouble == "down"
    pair.clock.now_s += 10
    answers.apply(TrialBegan("a", "m"))
    assert not failures.states.judge("a", "m", 1_010.0).trial, "one trial at a time, whoever decides"
    answers.apply(AttemptSucceeded("a", "m"))
    assert failures.states.judge("a", "m", 1_010.0).trouble is None


@asynccontextmanager
async def siblings(directory: Path, count: int) -> AsyncIterator[tuple[list[Siblings], list[list[WorkerEvent]]]]:
    """That many workers with sockets of each other, and what each has received."""
    received: list[list[WorkerEvent]] = [[] for _ in range(count)]
    async with AsyncExitStack() as stack:
        workers = []
        for number in range(count):
            others = [sibling_socket(directory, other) for other in range(count) if other != number]
            workers.append(started(stack, sibling_socket(directory, number), others, received[number].append))
        yield workers, received


def started(stack: AsyncExitStack, own: Path, others: list[Path], on_event: Callable[[WorkerEvent], None]) -> Siblings:
    worker = Siblings(own, others)
    worker.start(on_event)
    stack.callback(worker.close)
    return worker


def ignore(_: WorkerEvent) -> None:
    """For a worker that only sends."""


def failure(number: int) -> AttemptFailed:
    return AttemptFailed(f"provider-{number}")


async def test_all_others_receive_everything_in_order(tmp_path: Path) -> None:
    sent = [failure(number) for number in range(1_234)]
    async with siblings(tmp_path, 3) as (workers, received):
        for event in sent:
            workers[0].send(event)
        await until(lambda: received[1] == sent and received[2] == sent)
        assert not received[0]


async def test_every_kind_of_event_arrives_as_it_was_sent(tmp_path: Path) -> None:
    sent: list[WorkerEvent] = [
        AttemptSucceeded("a", "m", Timing(0.2, 900, 2.0, 4_000), age_s=1.5),
        AttemptSucceeded("a"),
        AnswerGenerated("a", 7, 0.5),
        AttemptFailed("a", "m", "Timeout", 30.0),
        AttemptLimited("a", "m", 30.0),
        AttemptLimited("a", "m", None, "Overloaded", 0.5),
        TrialBegan("a"),
        ProviderDegraded("a", "m", "SlowFirstByte"),
    ]
    async with siblings(tmp_path, 2) as (workers, received):
        for event in sent:
            workers[0].send(event)
        await until(lambda: received[1] == sent)


async def test_one_that_is_away_does_not_keep_the_others_from_receiving(tmp_path: Path) -> None:
    async with siblings(tmp_path, 3) as (workers, received):
        sibling_socket(tmp_path, 1).unlink()
        workers[0].send(failure(1))
        await until(lambda: received[2] == [failure(1)])
        assert not received[1]
        workers[0].send(failure(2))
        await until(lambda: received[2] == [failure(1), failure(2)])


async def test_one_that_is_busy_receives_it_a_moment_later(tmp_path: Path) -> None:
    path = sibling_socket(tmp_path, 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as busy:
        busy.bind(str(path))
        async with AsyncExitStack() as stack:
            worker = started(stack, sibling_socket(tmp_path, 0), [path], ignore)
            sent = [AttemptFailed("x" * 10_000, str(number)) for number in range(60)]
            for event in sent:
                worker.send(event)
                await asyncio.sleep(0)  # so each goes in a datagram of its own
            busy.setblocking(False)
            received: list[WorkerEvent] = []

            def drain() -> None:
                with suppress(BlockingIOError):
                    while True:
                        received.extend(msgspec.msgpack.decode(busy.recv(1 << 20), type=list[WorkerEvent]))

            def all_received() -> bool:
                drain()
                return received == sent

            drain()
            assert len(received) < len(sent), "the socket took it all, so nothing is shown"
            await until(all_received)


async def test_one_that_was_frozen_counts_nothing_as_under_way_that_has_ended(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        paths = [sibling_socket(tmp_path, number) for number in range(2)]
        knows = LimitUse("n/1", lambda: 1_000.0)
        busy = started(stack, paths[0], paths[1:], ignore)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as frozen:
            frozen.bind(str(paths[1]))
            sent: list[WorkerEvent] = [RequestSent("a", float(number), 10) for number in range(200)]
            ended: list[WorkerEvent] = [RequestEnded("a", float(number)) for number in range(200)]
            for event in [*sent, *ended, *sent[:3]]:
                busy.send(event)
                await asyncio.sleep(0)
            frozen.setblocking(False)

            def all_received() -> bool:
                with suppress(BlockingIOError):
                    while True:
                        for event in read_msgpack(frozen.recv(1 << 20)).events:
                            assert isinstance(event, RequestSent | RequestEnded | EventsMissed)
                            knows.apply_received(event)
                return not busy._unsent[str(paths[1])]

            await until(all_received)
            all_received()
    assert knows.used("a", 1_000.0).under_way == 3


class Counting(Siblings):
    tries = 0

    def _send(self) -> None:
        self.tries += 1
        super()._send()


def test_however_many_are_busy_there_is_one_retry_at_a_time(tmp_path: Path) -> None:
    paths = [sibling_socket(tmp_path, number) for number in range(1, 5)]

    async def story() -> None:
        with ExitStack() as stack:
            for path in paths:
                stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)).bind(str(path))
            worker = Counting(sibling_socket(tmp_path, 0), paths)
            worker.start(ignore)
            stack.callback(worker.close)
            while not all(worker._unsent.values()):
                worker.send(AttemptFailed("x" * 10_000))
                await pass_time(0.0)
            worker.tries = 0
            for tries in range(10):
                await pass_time(RETRY_S / 2)
                assert worker.tries == tries, "each sibling that is busy has started retries of its own"
                await pass_time(RETRY_S / 2)

    run(story())


async def test_what_cannot_be_read_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with siblings(tmp_path, 2) as (workers, received):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"?", str(sibling_socket(tmp_path, 1)))
        workers[0].send(failure(1))
        await until(lambda: received[1] == [failure(1)])
    assert "Do all run the same version?" in caplog.text
