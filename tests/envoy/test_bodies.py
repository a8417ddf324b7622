"""The body: byte for byte as it came, but for the model's name where a provider calls it differently."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.envoy.cast import PLAIN, big, body_of, headers_of
from tests.envoy.stage import Raw, Stage
from tests.envoy.upstream import Upstream

from limpet_lab.sim.faults import Fault

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_PREFIXES = {"a": "/v1", "b": "/b/v1", "c": "/openai/v1", "d": "/v1beta/openai", "e": "/v1"}
_BAIT = '"model":"x", {"model": "x"} \\"model\\": ] } " \\'

_TEXT = st.one_of(
    st.text(max_size=30), st.sampled_from([_BAIT, "model", '"', "\\", "\u2028", "\U0001f41a", "\x7f", "}{][,:"])
)
_VALUE = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), _TEXT
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["model", "a", "\\", ""]) | _TEXT, inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def _spelled(draw: st.DrawFn, text: str) -> str:
    """A JSON string with some characters as escapes, as a client may write it."""
    if draw(st.booleans()):
        return json.dumps(text, ensure_ascii=draw(st.booleans()))
    return (
        '"'
        + "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 and draw(st.booleans()) else json.dumps(c)[1:-1] for c in text)
        + '"'
    )


@st.composite
def _body(draw: st.DrawFn, model: str) -> tuple[bytes, bytes, bytes]:
    """A valid request: what stands before the model's value, that value, and what stands after it."""
    messages = [
        {"role": draw(st.sampled_from(["user", "system"])), "content": draw(_TEXT)}
        for _ in range(draw(st.integers(1, 3)))
    ]
    fields: list[tuple[str, Any]] = [("messages", messages), ("metadata", draw(_VALUE)), ("stop", draw(_VALUE))]
    if draw(st.booleans()):
        parameters = {"type": "object", "properties": {"model": {"type": "string", "model": "x"}}}
        fields.append(("tools", [{"type": "function", "function": {"name": "model", "parameters": parameters}}]))
    fields = draw(st.permutations(fields))
    space = st.sampled_from(["", "", " ", "\n", "\t \r\n"])

    def member(name: str, value: str) -> str:
        return draw(space) + draw(_spelled(name)) + draw(space) + ":" + draw(space) + value + draw(space)

    written = [
        member(
            n,
            json.dumps(
                v, ensure_ascii=draw(st.booleans()), separators=draw(st.sampled_from([(",", ":"), (", ", ": ")]))
            ),
        )
        for n, v in fields
    ]
    at = draw(st.integers(0, len(written)))
    key = member("model", "\x00")
    head, tail = key.split("\x00")
    before = draw(space) + "{" + "".join(w + "," for w in written[:at]) + head
    after = tail + "".join("," + w for w in written[at:]) + "}" + draw(space)
    encoded = [part.encode("utf-8", "surrogatepass") for part in (before, draw(_spelled(model)), after)]
    return encoded[0], encoded[1], encoded[2]


_EXAMPLES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


async def _got(stage: Stage, seller: str) -> bytes:
    arrival = (await stage.arrivals(seller))[-1]
    body = body_of(arrival)
    assert headers_of(arrival)["content-length"] == str(len(body))
    assert arrival.path == _PREFIXES[seller] + "/chat/completions"
    assert headers_of(arrival)["host"] == stage.sellers[seller].origin.removeprefix("http://")
    return body


@_EXAMPLES
@given(data=st.data())
async def test_nothing_to_change_means_not_a_byte_changes(stage: Stage, data: st.DataObject) -> None:
    if not await stage.announced():
        await stage.serve("c")
    body = b"".join(data.draw(_body(PLAIN)))
    answer = await stage.post(body)
    assert answer.status == 200, answer.body
    assert await _got(stage, "c") == body


@_EXAMPLES
@given(data=st.data())
async def test_a_renamed_model_is_all_that_differs(stage: Stage, data: st.DataObject) -> None:
    if not await stage.announced():
        await stage.serve("b")
    before, model, after = data.draw(_body(stage.model))
    answer = await stage.post(before + model + after)
    assert answer.status == 200, answer.body
    assert await _got(stage, "b") == before + b'"flash.b"' + after


@_EXAMPLES
@given(data=st.data())
async def test_the_second_attempt_starts_from_the_clients_own_bytes(stage: Stage, data: st.DataObject) -> None:
    if not await stage.announced():
        await stage.serve("b", "d")
        # Tried again elsewhere, but held against nobody: b would be out after the third example.
        await stage.sellers["b"].set_fault(Fault(kind="status", status=413))
    before, model, after = data.draw(_body(stage.model))
    both = {"provider": {"order": [stage.provider("b"), stage.provider("d")]}}
    steering = json.dumps(both)[1:-1].encode()
    opened = after.rstrip().removesuffix(b"}") + b"," + steering + b"}"
    answer = await stage.post(before + model + opened)
    assert (answer.status, stage.seller_of(answer.headers["x-limpet-provider"])) == (200, "d"), answer.body
    cut = after.rstrip().removesuffix(b"}").rstrip()
    for seller in "bd":
        expected = before + f'"flash.{seller}"'.encode() + cut + b"}"
        assert await _got(stage, seller) == expected


async def test_a_retry_without_any_edit_restores_length_path_and_host(stage: Stage) -> None:
    dear = {"input": "9", "cacheRead": "1", "output": "9"}
    await stage.serve("a", "b", "c", prices={"c": dear})
    for seller in stage.each("a", "b"):
        await seller.set_fault(Fault(kind="status", status=503))
    body = json.dumps({"messages": [{"role": "user", "content": _BAIT}], "model": PLAIN}).encode()
    answer = await stage.post(body)
    assert stage.seller_of(answer.headers["x-limpet-provider"]) == "c"
    for name in "abc":
        assert await _got(stage, name) == body


async def test_a_provider_that_renames_leaves_nothing_to_one_that_does_not(stage: Stage) -> None:
    models = [{"name": name, "upstreamName": "flash.a"} for name in (stage.model, PLAIN)]
    dear = {"input": "9", "cacheRead": "1", "output": "9"}
    await stage.serve("a", "c", specs={"a": {"models": models}}, prices={"c": dear})
    await stage.sellers["a"].set_fault(Fault(kind="status", status=503))
    body = json.dumps({"model": PLAIN, "messages": [{"role": "user", "content": _BAIT}]}).encode()
    answer = await stage.post(body)
    assert stage.seller_of(answer.headers["x-limpet-provider"]) == "c"
    assert await _got(stage, "a") == body.replace(b'"plain"', b'"flash.a"', 1)
    assert await _got(stage, "c") == body


async def test_every_attempt_gets_its_own_models_name(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    for seller in stage.each("a", "b"):
        await seller.set_fault(Fault(kind="reset_before_headers"))
    rest: dict[str, Any] = {"messages": [{"role": "user", "content": _BAIT}], "temperature": 0.5}
    order = {"provider": {"order": [stage.provider(name) for name in "abc"]}}
    answer = await stage.post({"model": stage.model, **rest, **order})
    assert stage.seller_of(answer.headers["x-limpet-provider"]) == "c"
    for name in "abc":
        assert await _got(stage, name) == json.dumps({"model": f"flash.{name}", **rest}).encode()


@pytest.mark.parametrize("megabytes", [2, 20])
async def test_a_big_body_survives_a_retry(stage: Stage, megabytes: int) -> None:
    await stage.serve("a", "b", "c")
    for seller in stage.each("a", "b"):
        await seller.set_fault(Fault(kind="status", status=500))
    body = json.dumps({"messages": [big(megabytes << 20)], "model": stage.model}).encode()
    answer = await stage.post(body)
    assert (answer.status, stage.seller_of(answer.headers["x-limpet-provider"])) == (200, "c")
    assert await _got(stage, "c") == body.replace(stage.model.encode(), b"flash.c")


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_a_body_over_the_limit_is_refused_in_json(stage: Stage, chunked: bool) -> None:
    await stage.serve("a")
    body = json.dumps({"model": stage.model, "messages": [{"role": "user", "content": "x" * (33 << 20)}]}).encode()
    answer = await _post_large(stage, body, chunked)
    assert answer.status == 413
    assert answer.json["error"]["code"] == "request_too_large"
    assert str(32 << 20) in answer.json["error"]["message"]
    assert answer.headers["x-limpet-decision"] == "refused.too_large"
    assert not await stage.arrivals("a")
    assert (await stage.ask("Still there?")).text


async def _post_large(stage: Stage, body: bytes, chunked: bool) -> Raw:
    """Reads while it writes: the refusal comes before the whole body has left."""
    host, _, port = stage.origin.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    length = "transfer-encoding: chunked" if chunked else f"content-length: {len(body)}"
    writer.write(
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n{length}\r\nconnection: close\r\n\r\n".encode()
    )
    writer.write(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n" if chunked else body)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
    headers = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
    answer = Raw(int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"])))
    writer.transport.abort()
    return answer


async def test_a_chunked_request_gets_its_length(stage: Stage) -> None:
    await stage.serve("b")
    body = json.dumps({"model": stage.model, "messages": [{"role": "user", "content": "in pieces"}]}).encode()

    async def pieces() -> Any:
        for start in range(0, len(body), 7):
            yield body[start : start + 7]

    async with stage.http.post(stage.origin + "/v1/chat/completions", data=pieces()) as response:
        assert response.status == 200, await response.text()
    assert await _got(stage, "b") == body.replace(stage.model.encode(), b"flash.b")


async def test_a_chunked_request_without_any_edit_passes_too(stage: Stage) -> None:
    await stage.serve("b")
    body = json.dumps({"model": PLAIN, "messages": [{"role": "user", "content": "in pieces"}]}).encode()

    async def pieces() -> Any:
        for start in range(0, len(body), 7):
            yield body[start : start + 7]

    async with stage.http.post(stage.origin + "/v1/chat/completions", data=pieces()) as response:
        assert response.status == 200, await response.text()
    assert body_of((await stage.arrivals("b"))[-1]) == body


async def test_a_client_that_waits_for_100_continue_gets_it(stage: Stage) -> None:
    await stage.serve("b")
    body = json.dumps({"model": stage.model, "messages": [{"role": "user", "content": "as curl does it"}]}).encode()
    async with stage.http.post(stage.origin + "/v1/chat/completions", data=body, expect100=True) as response:
        assert response.status == 200, await response.text()
    assert await _got(stage, "b") == body.replace(stage.model.encode(), b"flash.b")
    assert "expect" not in headers_of((await stage.arrivals("b"))[-1])


_TORN = {
    "first user message": '"messages":[{"role":"user","content":"hi \\ud83e"}]',
    "tool result": '"messages":[{"role":"user","content":"hi"},{"role":"tool","content":"x \\ud83e"}]',
    "a field nobody reads": '"messages":[{"role":"user","content":"hi"}],"metadata":{"\\ud83e":"\\udd80 off"}',
    "a key of the top level": '"messages":[{"role":"user","content":"hi"}],"\\uD83E":1',
    "user": '"messages":[{"role":"user","content":"hi"}],"user":"\\ud83e"',
}


@pytest.mark.parametrize("where", _TORN)
async def test_half_a_surrogate_pair_reaches_the_provider_as_it_was_written(stage: Stage, where: str) -> None:
    async with Upstream() as upstream:
        await stage.serve("a", specs={"a": {"url": upstream.url}})
        for model, sent_as in ((PLAIN, PLAIN), (stage.model, "flash.a")):
            body = f'{{"model":"{model}",{_TORN[where]}}}'
            answer = await stage.post(body.encode())
            assert answer.status == 200, answer.body
            assert upstream.got[-1].body == body.replace(f'"{model}"', f'"{sent_as}"', 1).encode()


@pytest.mark.parametrize(
    "body",
    [
        '{"model":"plain","Model":"other",%s}',
        '{"MODEL":"other","model":"plain",%s}',
        '{"model":"plain","model":"plain",%s}',
        '{"model":"plain",%s,"mod\\u0065l":"other"}',
        '{"model":"plain","session_id":"a",%s,"session_id":"b"}',
        '{"model":"plain","models":["other"],%s}',
    ],
)
async def test_what_a_provider_could_read_otherwise_than_we_do_reaches_none(stage: Stage, body: str) -> None:
    await stage.serve("a", "b")
    answer = await stage.post((body % '"messages":[{"role":"user","content":"Hi"}]').encode())
    assert (answer.status, answer.headers["x-limpet-decision"]) == (400, "refused.bad_request")
    assert answer.json["error"]["param"].lower() in ("model", "models", "session_id")
    assert not await stage.arrivals("a")
    assert not await stage.arrivals("b")


async def test_a_large_body_is_decided_about_like_a_small_one(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    opener = {"role": "user", "content": "x" * (3 << 20)}
    body = json.dumps({"messages": [opener], "session_id": "large", "model": stage.model}).encode()
    first = await stage.post(body)
    await stage.settle()
    again = await stage.post(body)
    assert first.headers["x-limpet-decision"] == "first.scored"
    assert again.headers["x-limpet-decision"] == "sticky.hit"
    seller = stage.seller_of(first.headers["x-limpet-provider"])
    assert await _got(stage, seller) == json.dumps({"messages": [opener], "model": f"flash.{seller}"}).encode()
    refused = await stage.post(body.replace(b'"large"', b"7"))
    assert (refused.status, refused.json["error"]["param"]) == (400, "session_id")
