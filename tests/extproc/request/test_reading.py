"""Where a request is read: a large one in a process of its own, with the same outcome as anywhere else."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator

import psutil
import pytest
import pytest_asyncio
import uvloop

from limpet_extproc.dialects import ChatRequest
from limpet_extproc.request.exchange import Head, Refusal, read
from limpet_extproc.request.reading import HEAVY_BYTES, LIGHT_BYTES, ReaderFailed, Reading, is_heavy

HEAD = Head("/v1/chat/completions", {})
LARGE = "x" * (HEAVY_BYTES + 1)


@pytest_asyncio.fixture
async def reading() -> AsyncIterator[Reading]:
    reading = Reading()
    yield reading
    await reading.close()


@pytest.mark.parametrize(
    ("text", "heavy"),
    [
        ("", False),
        ("x" * LIGHT_BYTES * 2, False),
        ("," * (LIGHT_BYTES - 100), False),
        ("," * LIGHT_BYTES * 2, True),
        ("\n" * LIGHT_BYTES, True),
        (LARGE, True),
    ],
    ids=["small", "middling", "small and dense", "dense", "escapes", "large"],
)
def test_what_would_hold_up_others_is_heavy(make, text: str, heavy: bool) -> None:
    body = make.body(text)
    assert is_heavy(body) is heavy
    assert is_heavy(memoryview(body)) is heavy


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"session_id": "s", "user": "u", "max_tokens": 7, "stream": True},
        {"provider": {"order": ["a"], "max_price": {"prompt": 1}, "zdr": True, "quantizations": ["fp8"]}},
        {"provider": {"orders": ["a"]}},
        {"model": 7},
        {"messages": "\ud83e"},
        {"provider": {"order": ["HALF"], "only": ["HALF"], "ignore": ["HALF"]}},
        {"max_tokens": 10**23},
        {"max_completion_tokens": 2**64, "max_tokens": -(10**23)},
    ],
    ids=str,
)
async def test_a_large_body_says_the_same_wherever_it_is_read(
    make, reading: Reading, fields: dict[str, object]
) -> None:
    if "messages" in fields:
        body = make.body().replace(b"Hello", b"\\ud83e" + LARGE.encode())
    else:
        body = make.body(LARGE, **fields).replace(b"HALF", b"\\ud83e")
    assert await reading.read(HEAD, memoryview(body)) == read(HEAD, body)
    assert reading.pid is not None


async def test_a_small_body_starts_no_process(make, reading: Reading) -> None:
    assert isinstance(await reading.read(HEAD, make.body()), ChatRequest)
    assert reading.pid is None


async def test_an_encoded_body_is_refused_without_a_look_at_it(make, reading: Reading) -> None:
    answer = await reading.read(Head("/", {"content-encoding": "gzip"}), make.body(LARGE))
    assert isinstance(answer, Refusal)
    assert (answer.status, reading.pid) == (415, None)


async def test_a_reader_that_died_is_started_again_for_the_next_body(make, reading: Reading) -> None:
    body = make.body(LARGE)
    await reading.read(HEAD, body)
    first = reading.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert isinstance(await reading.read(HEAD, body), ChatRequest)
    assert reading.pid != first


async def test_a_body_that_no_reader_survives_is_an_error_and_the_next_one_is_read(make) -> None:
    dies = "import socket; s = socket.socket(fileno=0); s.recv(1)"
    reading = Reading((sys.executable, "-c", dies))
    with pytest.raises(OSError):
        await reading.read(HEAD, make.body(LARGE))
    assert reading.pid is None
    assert isinstance(await reading.read(HEAD, make.body()), ChatRequest)


async def test_a_reader_that_hangs_is_ended_and_the_body_is_read_in_a_new_one(make) -> None:
    reading, body = Reading(patience_s=3.0), make.body(LARGE)
    await reading.read(HEAD, body)
    hung = psutil.Process(reading.pid)
    hung.suspend()
    assert isinstance(await reading.read(HEAD, body), ChatRequest)
    assert reading.pid != hung.pid
    assert not hung.is_running()
    await reading.close()


async def test_a_defect_of_the_reader_is_an_error_that_tells_it_and_ends_nothing(make) -> None:
    breaks = (
        "import socket, limpet_extproc.request.reader as reader\n"
        "def answer(body): raise KeyError('a defect')\n"
        "reader.answer = answer\n"
        "reader.serve(socket.socket(fileno=0))"
    )
    reading = Reading((sys.executable, "-c", breaks))
    with pytest.raises(ReaderFailed, match="KeyError: 'a defect'"):
        await reading.read(HEAD, make.body(LARGE))
    first = reading.pid
    with pytest.raises(ReaderFailed):
        await reading.read(HEAD, make.body(LARGE))
    assert first is not None
    assert reading.pid == first
    await reading.close()


async def test_who_leaves_while_a_body_is_read_does_not_spoil_the_next_answer(make, reading: Reading) -> None:
    one, other = make.body(LARGE, user="one"), make.body(LARGE, user="other")
    await reading.read(HEAD, one)
    leaves = asyncio.create_task(reading.read(HEAD, one))
    await asyncio.sleep(0)
    waits = asyncio.create_task(reading.read(HEAD, one))
    await asyncio.sleep(0)
    leaves.cancel()
    waits.cancel()
    answer = await reading.read(HEAD, other)
    assert isinstance(answer, ChatRequest)
    assert answer.user == "other"


def test_the_loop_of_a_real_worker_reads_large_bodies_too(make) -> None:
    body = make.body(LARGE)

    async def twice() -> list[ChatRequest | Refusal]:
        reading = Reading()
        answers = [await reading.read(HEAD, body), await reading.read(HEAD, memoryview(body))]
        await reading.close()
        return answers

    assert uvloop.run(twice()) == [read(HEAD, body)] * 2


async def test_the_process_ends_with_the_worker(make) -> None:
    reading = Reading()
    await reading.read(HEAD, make.body(LARGE))
    assert reading.pid is not None
    process = psutil.Process(reading.pid)
    await reading.close()
    assert not process.is_running()
