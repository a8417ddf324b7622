"""Where a request is read: a large one in a process of its own, with the same outcome as anywhere else."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import psutil
import pytest
import pytest_asyncio
import uvloop
from tests.extproc.conftest import Make

from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.dialects.port import ParsedRequest, Refusal
from limpet_extproc.dialects.registry import spoken
from limpet_extproc.request.parsing import RequestHead, read
from limpet_extproc.request.prefix import chain_of
from limpet_extproc.request.reading import HEAVY_BYTES, LIGHT_BYTES, ReaderError, RequestReader, is_heavy

HEAD = RequestHead(OpenAIChat(), {})
LARGE = "x" * (HEAVY_BYTES + 1)


def read_here(body: bytes) -> ParsedRequest | Refusal:
    """With what is only looked for at once where it may take long."""
    found = read(HEAD, body)
    last_blocks = HEAD.dialect.last_blocks(body)
    return found if isinstance(found, Refusal) else msgspec.structs.replace(found, last_blocks=last_blocks)


@pytest_asyncio.fixture
async def reader() -> AsyncIterator[RequestReader]:
    reader = RequestReader()
    yield reader
    await reader.close()


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
def test_what_would_hold_up_others_is_heavy(make: Make, text: str, heavy: bool) -> None:
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
async def test_a_large_body_is_read_alike_in_either_process(
    make: Make, reader: RequestReader, fields: dict[str, object]
) -> None:
    if "messages" in fields:
        body = make.body().replace(b"Hello", b"\\ud83e" + LARGE.encode())
    else:
        body = make.body(LARGE, **fields).replace(b"HALF", b"\\ud83e")
    assert await reader.read(HEAD, memoryview(body)) == read_here(body)
    assert reader.pid is not None


@pytest.mark.parametrize("half", [b"", b"\\ud83e"], ids=["whole", "half a pair"])
async def test_a_prompt_has_the_same_chain_wherever_it_is_read(reader: RequestReader, half: bytes) -> None:
    mark = {"type": "ephemeral"}
    turns: list[dict[str, Any]] = [
        {"role": ("user", "assistant")[at % 2], "content": [{"type": "text", "text": f"HALF {at} " + "x" * 8_000}]}
        for at in range(200)
    ]
    turns[-1]["content"][-1]["cache_control"] = mark
    fields = {"model": "m", "tools": [{"name": "t", "cache_control": mark}], "messages": turns}
    body = msgspec.json.encode(fields).replace(b"HALF", half)
    assert is_heavy(body)
    there, here = await reader.read(HEAD, memoryview(body)), read_here(body)
    assert isinstance(there, ParsedRequest)
    assert isinstance(here, ParsedRequest)
    assert there.layout is not None
    assert there.layout == here.layout
    assert there.layout.count == 202
    assert len(chain_of(memoryview(body), there.layout, b"seed", attached=False).hashes) > 0
    assert reader.pid is not None


async def test_a_small_body_starts_no_process(make: Make, reader: RequestReader) -> None:
    assert isinstance(await reader.read(HEAD, make.body()), ParsedRequest)
    assert reader.pid is None


async def test_a_large_form_is_read_where_it_lies(reader: RequestReader) -> None:
    found = spoken("/v1/audio/transcriptions", "multipart/form-data; boundary=x")
    head = RequestHead(found.dialect, {}, found.api, found.asked)
    sound = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + LARGE.encode()
    body = sound + b'\r\n--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--x--\r\n'
    answer = await reader.read(head, memoryview(body))
    assert isinstance(answer, ParsedRequest)
    assert (answer.model, reader.pid) == ("m", None)


async def test_an_encoded_body_is_refused_without_a_look_at_it(make: Make, reader: RequestReader) -> None:
    answer = await reader.read(RequestHead(OpenAIChat(), {"content-encoding": "gzip"}), make.body(LARGE))
    assert isinstance(answer, Refusal)
    assert (answer.status, reader.pid) == (415, None)


async def test_a_reader_that_died_is_started_again_for_the_next_body(make: Make, reader: RequestReader) -> None:
    body = make.body(LARGE)
    await reader.read(HEAD, body)
    first = reader.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert isinstance(await reader.read(HEAD, body), ParsedRequest)
    assert reader.pid != first


async def test_a_body_that_no_reader_survives_is_an_error_and_the_next_one_is_read(make: Make) -> None:
    dies = "import socket; s = socket.socket(fileno=0); s.recv(1)"
    reader = RequestReader((sys.executable, "-c", dies))
    with pytest.raises(OSError):
        await reader.read(HEAD, make.body(LARGE))
    assert reader.pid is None
    assert isinstance(await reader.read(HEAD, make.body()), ParsedRequest)


async def test_a_reader_that_hangs_is_ended_and_the_body_is_read_in_a_new_one(make: Make) -> None:
    reader, body = RequestReader(timeout_s=3.0), make.body(LARGE)
    await reader.read(HEAD, body)
    hung = psutil.Process(reader.pid)
    hung.suspend()
    assert isinstance(await reader.read(HEAD, body), ParsedRequest)
    assert reader.pid != hung.pid
    assert not hung.is_running()
    await reader.close()


async def test_a_defect_of_the_reader_is_an_error_that_tells_it_and_ends_nothing(make: Make) -> None:
    breaks = (
        "import socket, limpet_extproc.request.reader as reader\n"
        "def reply(dialect, body): raise KeyError('a defect')\n"
        "reader.reply = reply\n"
        "reader.serve(socket.socket(fileno=0))"
    )
    reader = RequestReader((sys.executable, "-c", breaks))
    with pytest.raises(ReaderError, match="KeyError: 'a defect'"):
        await reader.read(HEAD, make.body(LARGE))
    first = reader.pid
    with pytest.raises(ReaderError):
        await reader.read(HEAD, make.body(LARGE))
    assert first is not None
    assert reader.pid == first
    await reader.close()


async def test_a_caller_that_leaves_early_does_not_spoil_the_next_answer(make: Make, reader: RequestReader) -> None:
    one, other = make.body(LARGE, user="one"), make.body(LARGE, user="other")
    await reader.read(HEAD, one)
    leaves = asyncio.create_task(reader.read(HEAD, one))
    await asyncio.sleep(0)
    waits = asyncio.create_task(reader.read(HEAD, one))
    await asyncio.sleep(0)
    leaves.cancel()
    waits.cancel()
    answer = await reader.read(HEAD, other)
    assert isinstance(answer, ParsedRequest)
    assert answer.user == "other"


def test_the_loop_of_a_real_worker_reads_large_bodies_too(make: Make) -> None:
    body = make.body(LARGE)

    async def twice() -> list[ParsedRequest | Refusal]:
        reader = RequestReader()
        answers = [await reader.read(HEAD, body), await reader.read(HEAD, memoryview(body))]
        await reader.close()
        return answers

    assert uvloop.run(twice()) == [read_here(body)] * 2


async def test_the_process_ends_with_the_worker(make: Make) -> None:
    reader = RequestReader()
    await reader.read(HEAD, make.body(LARGE))
    assert reader.pid is not None
    process = psutil.Process(reader.pid)
    await reader.close()
    assert not process.is_running()
