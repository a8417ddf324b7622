"""A probe on its way through Envoy's socket, and whatever may come back from there."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.waiting import until

from limpet_extproc.contract.health_stream import (
    HEAD_TOO_LARGE,
    MAX_ANSWER_BYTES,
    NOT_SENT,
    TIMEOUT,
    ProbeAnswer,
    ProbeRequest,
)
from limpet_extproc.operator_link.probe_sender import ProbeSender


class Envoy:
    """The socket of an Envoy that answers with these bytes and hangs up."""

    def __init__(self, answer: bytes, *, hangs: bool = False) -> None:
        self._answer = answer
        self._hangs = hangs
        self.got = b""
        self.hung_up = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.got = await reader.readuntil(b"\r\n\r\n")
        if b"content-length: " in self.got:
            length = int(self.got.partition(b"content-length: ")[2].split(b"\r\n")[0])
            self.got += await reader.readexactly(length)
        writer.write(self._answer)
        if self._hangs:
            await reader.read()
            self.hung_up = True
        writer.close()

    @asynccontextmanager
    async def at(self, socket: Path) -> AsyncIterator[ProbeSender]:
        """Serve there."""
        server = await asyncio.start_unix_server(self._serve, socket)
        async with server:
            yield ProbeSender(socket)


def head(*lines: str) -> bytes:
    return "\r\n".join((*lines, "", "")).encode()


GET = ProbeRequest(7, "ai/openai", "GET", "/models", timeout_s=30.0)


async def test_a_probe_names_its_provider_and_brings_no_credential_of_its_own(tmp_path: Path) -> None:
    envoy = Envoy(head("HTTP/1.0 200 OK", "content-type: application/json") + b"{}")
    async with envoy.at(tmp_path / "s") as sender:
        answer = await sender.send(GET)
    lines = envoy.got.decode().split("\r\n")
    assert lines[0] == "GET /models HTTP/1.0"
    assert "x-limpet-cluster: ai/openai" in lines
    assert not [line for line in lines if "authorization" in line.lower()]
    assert (answer.id, answer.status, answer.content_type, answer.body) == (7, 200, "application/json", "{}")
    assert answer.failure == ""
    assert answer.seconds > 0


async def test_a_completion_is_sent_with_its_body(tmp_path: Path) -> None:
    envoy = Envoy(head("HTTP/1.0 429 Too Many Requests", "retry-after: 7") + b"slow down")
    async with envoy.at(tmp_path / "s") as sender:
        answer = await sender.send(ProbeRequest(1, "a", "POST", "/chat/completions", '{"model": "é"}'))
    assert envoy.got.endswith('\r\ncontent-length: 15\r\n\r\n{"model": "é"}'.encode())
    assert (answer.status, answer.retry_after, answer.body) == (429, "7", "slow down")


async def test_what_envoy_says_in_place_of_an_answer_is_no_answer(tmp_path: Path) -> None:
    envoy = Envoy(head("HTTP/1.0 503 Service Unavailable", "x-limpet-no-answer: true") + b"UF 10.0.0.1:443 refused -")
    async with envoy.at(tmp_path / "s") as sender:
        answer = await sender.send(GET)
    assert (answer.status, answer.failure) == (0, "UF 10.0.0.1:443 refused -")


async def test_a_huge_answer_is_read_to_its_limit_and_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    envoy = Envoy(head("HTTP/1.0 200 OK") + b"\xff" * (MAX_ANSWER_BYTES * 4))
    async with envoy.at(tmp_path / "s") as sender:
        answer = await sender.send(GET)
    assert answer.body == "�" * MAX_ANSWER_BYTES


@pytest.mark.parametrize("partial", [b"", head("HTTP/1.0 200 OK") + b'{"half'], ids=["silent", "in mid-answer"])
async def test_after_its_time_a_probe_is_given_up_and_the_connection_with_it(tmp_path: Path, partial: bytes) -> None:
    envoy = Envoy(partial, hangs=True)
    async with envoy.at(tmp_path / "s") as sender:
        answer = await sender.send(ProbeRequest(1, "a", "GET", "/models", timeout_s=0.05))
        await until(lambda: envoy.hung_up)
    assert (answer.status, answer.failure) == (0, TIMEOUT)


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.0 200 OK\r\n", b"no HTTP\r\n\r\n", head("HTTP/1.0 many OK")],
    ids=["nothing", "half a head", "no HTTP", "no status"],
)
async def test_nothing_that_is_no_answer_raises(tmp_path: Path, answer: bytes) -> None:
    async with Envoy(answer).at(tmp_path / "s") as sender:
        got = await sender.send(GET)
    assert got.status == 0
    assert got.failure.startswith(NOT_SENT)


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n{}"], ids=["without end", "with an end"])
async def test_a_head_that_is_too_large_is_the_providers_fault(tmp_path: Path, end: bytes) -> None:
    async with Envoy(b"HTTP/1.0 200 OK\r\nx: " + b"a" * 200_000 + end).at(tmp_path / "s") as sender:
        got = await sender.send(GET)
    assert (got.status, got.failure) == (0, HEAD_TOO_LARGE)


@pytest.mark.parametrize(("encoding", "packed"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_an_answer_that_was_compressed_unasked_is_read(
    tmp_path: Path, encoding: str, packed: Callable[[bytes], bytes]
) -> None:
    start = head("HTTP/1.0 200 OK", f"content-encoding: {encoding}")
    async with Envoy(start + packed(b'{"error": "no"}')).at(tmp_path / "a") as sender:
        assert (await sender.send(GET)).body == '{"error": "no"}'
    async with Envoy(start + packed(b"a" * MAX_ANSWER_BYTES * 100)).at(tmp_path / "b") as sender:
        assert (await sender.send(GET)).body == "a" * MAX_ANSWER_BYTES
    async with Envoy(start + b"none").at(tmp_path / "c") as sender:
        assert (await sender.send(GET)).body == "none"


async def test_without_envoy_nothing_is_sent(tmp_path: Path) -> None:
    got = await ProbeSender(tmp_path / "nobody").send(GET)
    assert (got.status, got.failure) == (0, f"{NOT_SENT}No such file or directory")


@pytest.mark.parametrize(
    "request_", [ProbeRequest(1, "a", "GET", "/x\r\nhost: evil"), ProbeRequest(1, "a b", "GET", "/x")]
)
async def test_a_probe_that_would_be_two_requests_is_not_sent(tmp_path: Path, request_: ProbeRequest) -> None:
    envoy = Envoy(head("HTTP/1.0 200 OK"))
    async with envoy.at(tmp_path / "s") as sender:
        got: ProbeAnswer = await sender.send(request_)
    assert got.failure.startswith(NOT_SENT)
    assert envoy.got == b""
