"""Workers beside one Envoy tell each other how providers do, and so come to see the same."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.catalog_stream import until

from limpet_extproc.decision.health import State, verdict
from limpet_extproc.providers.siblings import Event, Siblings, ToldProviders, sibling_socket

EVENTS = st.one_of(
    st.builds(Event, st.just("generated"), st.just("a"), st.just(0.0), st.floats(0.1, 9.0), tokens=st.integers(0, 99)),
    st.builds(Event, st.just("succeeded"), st.sampled_from("ab"), st.just(0.0), st.none() | st.floats(0.01, 1)),
    st.builds(Event, st.sampled_from(["failed", "trial"]), st.sampled_from("ab"), st.just(0.0)),
    st.builds(Event, st.just("limited"), st.sampled_from("ab"), st.just(0.0), st.floats(0, 400)),
)


def happen(providers: ToldProviders, event: Event, now_s: float) -> None:
    """As the worker itself would see it; a trial is begun by a worker that knows the provider to be out."""
    match event.kind:
        case "generated":
            providers.generated(event.provider, event.tokens, event.seconds or 0.0)
        case "succeeded":
            providers.succeeded(event.provider, now_s, event.seconds)
        case "failed":
            providers.failed(event.provider, now_s)
        case "limited":
            providers.limited(event.provider, now_s, event.seconds or 0.0)
        case "trial" if event.provider in providers.health:
            providers.begin_trial(event.provider, now_s)


class Pair:
    """Two workers whose words arrive at once, and what changed at each."""

    def __init__(self) -> None:
        self.changes: list[tuple[int, str, str | None]] = []
        self.workers = (
            ToldProviders(self._changed(0), lambda event: self.workers[1].hear([event])),
            ToldProviders(self._changed(1), lambda event: self.workers[0].hear([event])),
        )

    def _changed(self, worker: int) -> Callable[[str, State], None]:
        def changed(provider: str, state: State) -> None:
            self.changes.append((worker, provider, state.out_because))

        return changed


@given(story=st.lists(st.tuples(EVENTS, st.integers(0, 1), st.floats(0, 30)), max_size=40))
def test_whoever_sees_it_both_know_the_same(story: list[tuple[Event, int, float]]) -> None:
    pair, now_s = Pair(), 1_000.0
    for event, seen_by, later_s in story:
        now_s += later_s
        happen(pair.workers[seen_by], event, now_s)
        one, other = pair.workers
        assert one.health == other.health
        assert one.answered == other.answered
        assert one.known == other.known
    assert [change[1:] for change in pair.changes if not change[0]] == [
        change[1:] for change in pair.changes if change[0]
    ]


def test_failures_reported_here_and_the_answer_of_the_trial_there_end_an_outage() -> None:
    failures, answers = Pair().workers
    for _ in range(3):
        failures.failed("a", 1.0)
    assert verdict(answers.health["a"], 2.0) == "down"
    answers.begin_trial("a", 100.0)
    assert verdict(failures.health["a"], 100.0) == "down", "one trial at a time, whoever decides"
    answers.succeeded("a", 101.0, 0.2)
    assert not failures.health


@asynccontextmanager
async def siblings(directory: Path, count: int) -> AsyncIterator[tuple[list[Siblings], list[list[Event]]]]:
    """That many workers that hear each other, and what each has heard."""
    heard: list[list[Event]] = [[] for _ in range(count)]
    async with AsyncExitStack() as stack:
        all_of_them = []
        for number in range(count):
            others = [sibling_socket(directory, other) for other in range(count) if other != number]
            sibling = Siblings(sibling_socket(directory, number), others, heard[number].extend)
            sibling.start()
            stack.callback(sibling.close)
            all_of_them.append(sibling)
        yield all_of_them, heard


def failure(number: int) -> Event:
    return Event("failed", f"provider-{number}", float(number))


async def test_all_others_hear_everything_in_order(tmp_path: Path) -> None:
    told = [failure(number) for number in range(1_234)]
    async with siblings(tmp_path, 3) as (them, heard):
        for event in told:
            them[0].tell(event)
        await until(lambda: heard[1] == told and heard[2] == told)
        assert not heard[0]


async def test_one_that_is_away_keeps_nobody_else_from_hearing(tmp_path: Path) -> None:
    async with siblings(tmp_path, 3) as (them, heard):
        sibling_socket(tmp_path, 1).unlink()
        them[0].tell(failure(1))
        await until(lambda: heard[2] == [failure(1)])
        assert not heard[1]
        them[0].tell(failure(2))
        await until(lambda: heard[2] == [failure(1), failure(2)])


async def test_one_that_is_busy_hears_it_a_moment_later(tmp_path: Path) -> None:
    path = sibling_socket(tmp_path, 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as busy:
        busy.bind(str(path))
        async with AsyncExitStack() as stack:
            one = Siblings(sibling_socket(tmp_path, 0), [path], lambda _: None)
            one.start()
            stack.callback(one.close)
            told = [Event("failed", "x" * 10_000, float(number)) for number in range(60)]
            for event in told:
                one.tell(event)
                one._pack()
            assert one._unsent[str(path)], "the socket took it all, so nothing is shown"
            busy.setblocking(False)
            heard: list[Event] = []

            def all_heard() -> bool:
                try:
                    heard.extend(msgspec.msgpack.decode(busy.recv(1 << 20), type=list[Event]))
                except BlockingIOError:
                    return heard == told
                return heard == told

            await until(all_heard)


async def test_however_many_are_busy_it_tries_again_once_in_a_while(tmp_path: Path) -> None:
    paths = [sibling_socket(tmp_path, number) for number in range(1, 5)]
    async with AsyncExitStack() as stack:
        for path in paths:
            stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)).bind(str(path))
        tried = 0

        class Counting(Siblings):
            def _send(self) -> None:
                nonlocal tried
                tried += 1
                super()._send()

        one = Counting(sibling_socket(tmp_path, 0), paths, lambda _: None)
        one.start()
        stack.callback(one.close)
        while not all(one._unsent.values()):
            one.tell(Event("failed", "x" * 10_000, 0.0))
            await asyncio.sleep(0)
        tried = 0
        await asyncio.sleep(0.4)
        assert 1 <= tried <= 21, "each sibling that is busy has started tries of its own"


async def test_what_cannot_be_read_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with siblings(tmp_path, 2) as (them, heard):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"?", str(sibling_socket(tmp_path, 1)))
        them[0].tell(failure(1))
        await until(lambda: heard[1] == [failure(1)])
    assert "Do all run the same version?" in caplog.text
