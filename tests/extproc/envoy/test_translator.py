"""Envoy's messages to the translator and its answers, over a call that the test plays."""

import json
from typing import Any

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from tests.extproc.translation.shapes import chat
from tests.extproc.translation.test_answer import HI, message
from tests.extproc.translation.test_stream import START, TEXT, read, sse

from limpet_extproc.contract.envoy import TRANSLATE_HEADER, UNTRANSLATED_PATH
from limpet_extproc.envoy.translator import MAX_ANSWER_BYTES, Translator


class Call:
    """A stream: what Envoy sends, and what it gets."""

    def __init__(self, *messages: pb.ProcessingRequest) -> None:
        self._messages = [each.SerializeToString() for each in messages]
        self.written: list[Any] = []

    async def read(self) -> bytes | None:
        return self._messages.pop(0) if self._messages else None

    async def write(self, message: bytes) -> None:
        self.written.append(pb.ProcessingResponse.FromString(message))


async def said(*messages: pb.ProcessingRequest, **how: Any) -> list[Any]:
    """All that is written, the last message included."""
    call = Call(*messages)
    last = await Translator(lambda: 17.5).process(call, **how)
    return [*call.written, *([pb.ProcessingResponse.FromString(last)] if last is not None else [])]


def head(of: str, noted: dict[str, Any] | None = None, *, end: bool = False, **headers: str) -> pb.ProcessingRequest:
    request = pb.ProcessingRequest()
    part = getattr(request, f"{of}_headers")
    part.end_of_stream = end
    for name, value in headers.items():
        part.headers.headers.add(key=name.replace("_", "-").replace("--", ":"), raw_value=value.encode())
    for namespace, values in (noted or {}).items():
        request.metadata_context.filter_metadata[namespace].update(values)
    return request


def body(of: str, data: bytes, *, end: bool = True) -> pb.ProcessingRequest:
    request = pb.ProcessingRequest()
    part = getattr(request, f"{of}_body")
    part.body, part.end_of_stream = data, end
    return request


def headers_of(common: Any) -> dict[str, str]:
    return {each.header.key: each.header.raw_value.decode() for each in common.header_mutation.set_headers}


async def test_a_request() -> None:
    path = f"{UNTRANSLATED_PATH}/v1/messages?beta=true"
    asked = chat(stream=True, stream_options={"include_usage": True})
    first, second = await said(head("request", __path=path), body("request", json.dumps(asked).encode()))
    assert first.HasField("request_headers")
    common = second.request_body.response
    assert json.loads(common.body_mutation.body)["max_tokens"] == 32000
    assert headers_of(common) == {
        ":path": "/v1/messages?beta=true",
        "content-type": "application/json",
        "content-length": str(len(common.body_mutation.body)),
    }
    assert dict(second.dynamic_metadata["limpet.translation"]) == {"state": "done", "usage_asked": True}


async def test_a_request_that_cannot_be_translated() -> None:
    *_, last = await said(head("request", __path="/x"), body("request", json.dumps(chat(n=2)).encode()))
    assert last.immediate_response.status.code == 400
    assert json.loads(last.immediate_response.body)["error"]["param"] == "n"


async def test_a_request_that_gets_too_large_goes_on_as_it_is() -> None:
    """To a path that no provider has: then it is the next one's turn."""
    asked = json.dumps(chat()).encode()
    request = head("request", __path="/x"), body("request", asked)
    *_, within = await said(*request)
    length = len(within.request_body.response.body_mutation.body)
    *_, beyond = await said(*request, body_limit_bytes=length - 1)
    assert not beyond.request_body.response.HasField("body_mutation")
    assert dict(beyond.dynamic_metadata["limpet.translation"]) == {"state": "too_large"}
    assert await said(*request, body_limit_bytes=length) == await said(*request)


async def test_a_user_is_named_where_the_cluster_says_so() -> None:
    request = head("request", __path="/x"), body("request", json.dumps(chat(user="u")).encode())
    for named in (True, False):
        *_, last = await said(*request, user_id=named)
        assert ("metadata" in json.loads(last.request_body.response.body_mutation.body)) is named


async def test_a_whole_answer_is_buffered_where_it_is_short() -> None:
    data = json.dumps(message(HI)).encode()
    for length, mode in ((str(len(data)), 2), ("9999999", 0), ("", 0)):
        first, second = await said(
            head("response", __status="200", content_type="application/json", content_length=length),
            body("response", data),
        )
        assert first.mode_override.response_body_mode == mode
        assert TRANSLATE_HEADER in first.response_headers.response.header_mutation.remove_headers
        common = second.response_body.response
        assert json.loads(common.body_mutation.body)["created"] == 17
        assert headers_of(common) == {"content-length": str(len(common.body_mutation.body))}


async def test_a_whole_answer_in_pieces() -> None:
    data = json.dumps(message(HI)).encode()
    _, first, last = await said(
        head("response", __status="200", content_type="application/json"),
        body("response", data[:20], end=False),
        body("response", data[20:]),
    )
    assert first.response_body.response.body_mutation.clear_body
    assert json.loads(last.response_body.response.body_mutation.body)["object"] == "chat.completion"


@pytest.mark.parametrize(("hidden", "chunks"), [(False, 5), (True, 4)], ids=["asked for", "added by us"])
async def test_a_stream(hidden: bool, chunks: int) -> None:
    noted = {"limpet.translation": {"usage_asked": True}, "limpet.decision": {"hide_usage": hidden}}
    data = sse(START, *TEXT)
    _, *pieces = await said(
        head("response", noted, __status="200", content_type="text/event-stream; charset=utf-8"),
        *(body("response", data[n : n + 50], end=False) for n in range(0, len(data), 50)),
        body("response", b""),
    )
    out, done = read(b"".join(piece.response_body.response.body_mutation.body for piece in pieces))
    assert done
    assert len(out) == chunks
    assert len(pieces) == len(range(0, len(data), 50)) + 1, "one answer for each message"


async def test_an_error_keeps_its_status() -> None:
    said_error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    first, second = await said(
        head("response", __status="529", content_type="application/json"),
        body("response", json.dumps(said_error).encode()),
    )
    assert not headers_of(first.response_headers.response)
    assert json.loads(second.response_body.response.body_mutation.body)["error"]["message"] == "Overloaded"


async def test_a_success_that_cannot_be_read_is_an_error() -> None:
    """One that Envoy holds gets another status; of a longer one the client may have the head, and is cut off."""
    data = b'{"answer": 42}'
    known = head("response", __status="200", content_type="application/json", content_length=str(len(data)))
    _, second = await said(known, body("response", data))
    assert headers_of(second.response_body.response)[":status"] == "502"
    assert json.loads(second.response_body.response.body_mutation.body)["error"]["code"] == "api_error"
    *_, last = await said(head("response", __status="200", content_type="application/json"), body("response", data))
    assert last.immediate_response.status.code == 502
    assert json.loads(last.immediate_response.body)["error"]["code"] == "api_error"


async def test_an_encoded_answer_is_none() -> None:
    first, second = await said(
        head("response", __status="200", content_type="application/json", content_encoding="br"),
        body("response", b"\x0b\x02\x80"),
    )
    assert headers_of(first.response_headers.response) == {":status": "502"}
    assert "'br'" in json.loads(second.response_body.response.body_mutation.body)["error"]["message"]


async def test_an_answer_without_a_body() -> None:
    assert len(await said(head("response", end=True, __status="200", content_type="application/json"))) == 1


async def test_an_endless_answer_ends_the_call() -> None:
    piece = b"x" * (MAX_ANSWER_BYTES // 4 + 1)
    with pytest.raises(OverflowError):
        await said(
            head("response", __status="200", content_type="application/json"),
            *(body("response", piece, end=False) for _ in range(4)),
        )


async def test_a_call_that_says_nothing() -> None:
    assert await said() == []
