"""Every fault as it arrives on the wire, and what a seller does when its process or its client dies."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import get_args

import httpx
import pytest
import pytest_asyncio

from limpet_lab.sim.config import Pace, SellerConfig, SellerModel
from limpet_lab.sim.faults import Endpoint, Fault, Faults
from limpet_lab.sim.sellers import Seller, SellerFailedError, Sellers

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

_PATIENCE_S = 60.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Sellers]:
    pace = Pace(first_byte_ms=0, uncached_ms_per_thousand=0, chunk_ms=0)
    configs = [
        SellerConfig(name="quick", models=(SellerModel("m"),), pace=pace),
        SellerConfig(name="slow", models=(SellerModel("m"),), pace=Pace(chunk_ms=50)),
    ]
    async with Sellers.start(configs) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=_PATIENCE_S) as client:
        yield client


def _body(*, stream: bool = False) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream}).encode()


async def _post(http: httpx.AsyncClient, seller: Seller, *, stream: bool = False) -> httpx.Response:
    return await http.post(seller.base_url + "/chat/completions", content=_body(stream=stream))


async def _raw(seller: Seller, *, stream: bool) -> tuple[bytes, bool]:
    """What arrives on a bare connection, and whether it ended with RST instead of FIN."""
    reader, writer = await asyncio.open_connection("127.0.0.1", seller.port)
    body = _body(stream=stream)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    received = b""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while piece := await reader.read(65536):
                received += piece
    except ConnectionResetError:
        return received, True
    finally:
        writer.close()
    return received, False


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("fault", "begins", "contains"),
    [
        (Fault("reset_before_headers"), b"", b""),
        (Fault("reset_within_headers"), b"HTTP/1.1 200", b""),
        (Fault("reset_within_body", after_pieces=2), b"HTTP/1.1 200", b"chatcmpl-"),
        (Fault("reset_within_body", after_pieces=0), b"", b""),
    ],
)
async def test_resets_are_real_ones(
    sellers: Sellers, fault: Fault, begins: bytes, contains: bytes, stream: bool
) -> None:
    await sellers["quick"].set_fault(fault)
    received, was_reset = await _raw(sellers["quick"], stream=stream)
    assert was_reset
    assert received.startswith(begins)
    assert contains in received
    assert b"[DONE]" not in received
    if fault.kind == "reset_within_headers":
        assert b"\r\n\r\n" not in received


async def test_a_broken_answer_is_billed_for_what_was_produced(sellers: Sellers) -> None:
    await sellers["quick"].set_fault(Fault("reset_within_body", after_pieces=2))
    await _raw(sellers["quick"], stream=True)
    (row,) = (await sellers["quick"].ledger()).rows
    assert not row.complete
    assert 0 < row.output < 40


async def test_a_status_with_retry_after_counts_down(http: httpx.AsyncClient, sellers: Sellers) -> None:
    await sellers["quick"].set_fault(Fault("status", times=2, status=429, retry_after_s=1.5))
    answers = [await _post(http, sellers["quick"]) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "1.5"
    assert answers[0].json()["error"]["type"] == "rate_limit_error"
    assert (await sellers["quick"].ledger()).errors == {"429": 2}
    assert await sellers["quick"].fault() == Fault()


@pytest.mark.parametrize(("body", "text"), [({"error": "x"}, '{"error":"x"}'), ("busy", "busy")])
async def test_a_status_with_a_body_of_its_own(
    http: httpx.AsyncClient, sellers: Sellers, body: object, text: str
) -> None:
    await sellers["quick"].set_fault(Fault("status", status=529, body=body))
    answer = await _post(http, sellers["quick"])
    assert (answer.status_code, answer.text) == (529, text)


async def test_a_hang_answers_nothing_until_the_client_leaves(http: httpx.AsyncClient, sellers: Sellers) -> None:
    await sellers["quick"].set_fault(Fault("hang", times=1))
    with pytest.raises(httpx.ReadTimeout):
        await http.post(sellers["quick"].base_url + "/chat/completions", content=_body(), timeout=0.2)
    assert (await _post(http, sellers["quick"])).status_code == 200
    assert (await sellers["quick"].ledger()).errors == {"hang": 1}


async def test_latency_holds_the_first_byte_back(http: httpx.AsyncClient, sellers: Sellers) -> None:
    await sellers["quick"].set_fault(Fault("latency", delay_s=30, times=1))
    late = asyncio.create_task(_post(http, sellers["quick"]))
    async with asyncio.timeout(_PATIENCE_S):
        while (await sellers["quick"].fault()).kind != "none":
            continue
    assert (await _post(http, sellers["quick"])).status_code == 200
    assert not late.done()
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late


@pytest.mark.parametrize("stream", [True, False])
async def test_a_slow_drip_is_slow_and_complete(http: httpx.AsyncClient, sellers: Sellers, stream: bool) -> None:
    await sellers["quick"].set_fault(Fault("slow_drip", delay_s=0.01))
    url = sellers["quick"].base_url + "/chat/completions"
    async with http.stream("POST", url, content=_body(stream=stream)) as answer:
        pieces = [piece async for piece in answer.aiter_raw()]
    assert len(pieces) > 4
    assert b"".join(pieces).rstrip().endswith(b"[DONE]" if stream else b"}")


@pytest.mark.parametrize(("on", "chat", "models"), [("chat", 500, 200), ("models", 200, 500), ("all", 500, 500)])
async def test_a_fault_hits_the_endpoints_it_names(
    http: httpx.AsyncClient, sellers: Sellers, on: str, chat: int, models: int
) -> None:
    control = sellers["quick"].origin + "/_sim/fault"
    assert (await http.put(control, json={"kind": "status", "on": on})).status_code == 200
    assert (await _post(http, sellers["quick"])).status_code == chat
    assert (await http.get(sellers["quick"].base_url + "/models")).status_code == models


@pytest.mark.parametrize(
    "fault", [{"kind": "fire"}, {"kind": "status", "times": 0}, {"kind": "hang", "for": 1}, {"status": 42}, "none"]
)
async def test_a_fault_that_makes_no_sense_is_refused(http: httpx.AsyncClient, sellers: Sellers, fault: object) -> None:
    answer = await http.put(sellers["quick"].origin + "/_sim/fault", json=fault)
    assert answer.status_code == 400
    assert answer.json()["problem"]


async def test_a_client_that_leaves_a_stream_pays_for_what_it_got(http: httpx.AsyncClient, sellers: Sellers) -> None:
    slow = sellers["slow"]
    async with http.stream("POST", slow.base_url + "/chat/completions", content=_body(stream=True)) as answer:
        async for _ in answer.aiter_raw():
            break
    async with asyncio.timeout(_PATIENCE_S):
        while not (rows := (await slow.ledger()).rows):
            continue
    assert not rows[0].complete
    assert rows[0].output < 40


async def test_a_killed_seller_comes_back_on_its_port_and_cold(http: httpx.AsyncClient) -> None:
    async with Sellers.start([SellerConfig(name="a", models=(SellerModel("m"),))]) as started:
        seller = started["a"]
        port, pid = seller.port, seller.pid
        assert (await _post(http, seller)).status_code == 200
        seller.kill()
        assert seller.exit_code == -9
        with pytest.raises(httpx.TransportError):
            await _post(http, seller)
        await seller.restart()
        assert (seller.port, seller.pid != pid) == (port, True)
        assert (await _post(http, seller)).status_code == 200
        assert (await seller.ledger()).totals.requests == 1
    assert seller.exit_code == 0


async def test_a_taken_port_is_named_and_the_others_end(sellers: Sellers) -> None:
    taken = f"127.0.0.1:{sellers['quick'].port}"
    configs = [
        SellerConfig(name="free", models=(SellerModel("m"),)),
        SellerConfig(name="late", models=(SellerModel("m"),), listen=taken),
    ]
    with pytest.raises(SellerFailedError, match=rf"seller late: can't listen on {taken}: Address already in use"):
        async with Sellers.start(configs):
            pass


async def test_raw_requests_need_to_be_asked_for(sellers: Sellers) -> None:
    with pytest.raises(SellerFailedError, match="set `record: true`"):
        await sellers["quick"].requests()


async def test_a_fault_without_times_stays() -> None:
    faults = Faults()
    faults.set(Fault("hang"))
    assert [faults.take("chat").kind for _ in range(3)] == ["hang"] * 3
    assert faults.take("models").kind == "none"


@pytest.mark.parametrize(
    ("fault", "hits"),
    [
        (Fault("hang"), {"chat", "messages", "responses"}),
        (Fault("hang", on="messages"), {"messages"}),
        (Fault("hang", on="all"), {"chat", "messages", "responses", "models", "other"}),
    ],
    ids=["by default", "one", "all"],
)
async def test_a_fault_hits_what_it_is_on(fault: Fault, hits: set[str]) -> None:
    faults = Faults()
    faults.set(fault)
    assert {each for each in get_args(Endpoint) if faults.take(each).kind == "hang"} == hits
