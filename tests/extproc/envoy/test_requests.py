"""Requests as Envoy hands them over: whatever is known of earlier ones, each is read as if it were the first."""

from typing import Any

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.envoy import HEAD_ATTRIBUTE, HEAD_ROUTE, READ_HEADERS
from limpet_extproc.dialects.registry import spoken
from limpet_extproc.envoy.requests import HeadReader, parsed

VALUES = {
    ":path": ["/v1/chat/completions", "/v1/messages", "/v1/audio/transcriptions", "/v1/files"],
    ":method": ["POST", "GET"],
    "content-type": ["application/json", "multipart/form-data; boundary=x", ""],
    "anthropic-version": ["2023-06-01", ""],
}
OTHERS = ["", "", "", "a", "b c", " "]
HEADS = st.fixed_dictionaries(
    {name: st.sampled_from(VALUES.get(name, OTHERS)) for name in READ_HEADERS}
    | {"x-mine": st.sampled_from([None, "", "a"]), HEAD_ROUTE: st.sampled_from(["a b", "a", ""])}
)


def request(head: dict[str, Any], body: bytes = b"{}") -> pb.ProcessingRequest:
    message = pb.ProcessingRequest()
    message.request_body.body = body
    message.request_body.end_of_stream = True
    lines = "\n".join(f"{name} {value}" for name, value in head.items() if value is not None)
    message.attributes["envoy.filters.http.ext_proc"].fields[HEAD_ATTRIBUTE].string_value = lines
    return message


@given(st.lists(HEADS, min_size=1, max_size=8))
def test_a_head_has_the_headers_that_are_there_whatever_came_before(heads: list[dict[str, Any]]) -> None:
    reader = HeadReader()
    for head in [*heads, *heads]:
        found = reader.read(request(head))
        assert found.headers == {name: value for name, value in head.items() if value and value[-1] > " "}
        asked = spoken(head[":path"], head["content-type"], anthropic=bool(head["anthropic-version"]))
        assert (found.api, found.asked, found.dialect.name) == (asked.api, asked.asked, asked.dialect.name)


def test_no_credential_is_kept() -> None:
    reader, plain = HeadReader(), dict.fromkeys(READ_HEADERS, "")
    for number in range(5):
        found = reader.read(request({**plain, "authorization": f"Bearer {number}", HEAD_ROUTE: "a"}))
        assert found.headers["authorization"] == f"Bearer {number}"
    assert len(reader._known) == 1
    assert "Bearer" not in repr(reader._known)


def test_heads_do_not_fill_the_memory() -> None:
    reader, plain = HeadReader(), dict.fromkeys(READ_HEADERS, "")
    for number in range(2_500):
        reader.read(request({**plain, "user-agent": str(number), HEAD_ROUTE: "a"}))
    assert len(reader._known) <= 1_000


SIZES = [0, 1, 127, 128, 16_000, 16_384, 100_000, 300_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("as_view", [False, True])
def test_the_body_is_found_whatever_its_size(size: int, as_view: bool) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    data = request({":path": "/v1/messages"}, body[:size]).SerializeToString()
    read, found = parsed(memoryview(data) if as_view else data)
    assert found == body[:size]
    assert HeadReader().read(read).headers == {":path": "/v1/messages"}


@pytest.mark.parametrize("size", SIZES[1:])
def test_of_several_bodies_the_last_one_counts_as_it_does_for_the_parser(size: int) -> None:
    first = request({":path": "/v1/messages"}, b"a" * 20_000).SerializeToString()
    for more in (pb.ProcessingRequest(request_body={"body": b"b" * size}), pb.ProcessingRequest(request_headers={})):
        _, found = parsed(first + more.SerializeToString())
        assert found == pb.ProcessingRequest.FromString(first + more.SerializeToString()).request_body.body
