"""Requests as Envoy hands them over: whatever is known of earlier ones, each is read as if it were the first."""

from typing import Any

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.envoy import HEAD_ATTRIBUTE, HEAD_ROUTE, READ_HEADERS
from limpet_extproc.dialects.registry import spoken
from limpet_extproc.envoy.requests import HeadReader, parsed
from limpet_extproc.envoy.wire import body_in_front
from limpet_extproc.request.parsing import RequestHead

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


def read_as_served(reader: HeadReader, message: pb.ProcessingRequest) -> RequestHead:
    """As the server does."""
    after = behind_body(message.SerializeToString())
    return reader.known(after) or reader.read(message, after)


def behind_body(data: bytes) -> memoryview:
    apart = body_in_front(data)
    assert apart is not None
    return apart[1]


@given(st.lists(HEADS, min_size=1, max_size=8))
def test_a_head_has_the_headers_that_are_there_whatever_came_before(heads: list[dict[str, Any]]) -> None:
    reader = HeadReader()
    for head in [*heads, *heads]:
        found = read_as_served(reader, request(head))
        assert found.headers == {name: value for name, value in head.items() if value and value[-1] > " "}
        asked = spoken(head[":path"], head["content-type"], anthropic=bool(head["anthropic-version"]))
        assert (found.api, found.asked, found.dialect.name) == (asked.api, asked.asked, asked.dialect.name)


def test_no_credential_is_kept() -> None:
    reader, plain = HeadReader(), dict.fromkeys(READ_HEADERS, "")
    for number in range(5):
        found = read_as_served(reader, request({**plain, "authorization": f"Bearer {number}", HEAD_ROUTE: "a"}))
        assert found.headers["authorization"] == f"Bearer {number}"
    assert len(reader._known) == 1
    assert "Bearer" not in repr(reader._known)


def test_no_path_with_a_query_is_kept_as_a_credential_may_stand_there() -> None:
    reader, plain = HeadReader(), dict.fromkeys(READ_HEADERS, "")
    path = "/v1beta/models/gemini:generateContent?key=secret"
    for _ in range(2):
        found = read_as_served(reader, request({**plain, ":path": path, "authorization": "Bearer a", HEAD_ROUTE: "a"}))
        assert found.headers == {":path": path, "authorization": "Bearer a", HEAD_ROUTE: "a"}
    assert not reader._known


@pytest.mark.parametrize("name", [":path", "user-agent"])
def test_no_long_head_is_kept(name: str) -> None:
    reader, plain = HeadReader(), dict.fromkeys(READ_HEADERS, "")
    for size in (1_000, 4_000, 50_000):
        found = read_as_served(reader, request({**plain, name: "/" * size, HEAD_ROUTE: "a"}))
        assert found.headers == {name: "/" * size, HEAD_ROUTE: "a"}
    assert [len(front) + len(back) < 3_072 for front, _, back in reader._known] == [True]


def test_a_long_credential_does_not_keep_a_head_from_being_known() -> None:
    reader, plain = HeadReader(), dict.fromkeys(READ_HEADERS, "")
    read_as_served(reader, request({**plain, "authorization": "a" * 4_000, HEAD_ROUTE: "a"}))
    assert len(reader._known) == 1


def test_what_is_done_to_a_head_is_not_done_to_the_next_one() -> None:
    reader, head = HeadReader(), dict.fromkeys(READ_HEADERS, "") | {HEAD_ROUTE: "a"}
    for _ in range(3):
        headers = read_as_served(reader, request(head)).headers
        assert isinstance(headers, dict)
        assert headers == {HEAD_ROUTE: "a"}
        headers["x-other"] = "b"


def test_heads_do_not_fill_the_memory() -> None:
    reader, plain = HeadReader(), dict.fromkeys(READ_HEADERS, "")
    for number in range(2_500):
        read_as_served(reader, request({**plain, "user-agent": str(number), HEAD_ROUTE: "a"}))
    assert len(reader._known) <= 1_000


KNOWN = {**dict.fromkeys(READ_HEADERS, ""), ":path": "/v1/chat/completions", HEAD_ROUTE: "a"}


def test_a_head_is_known_by_all_but_its_credential_and_its_body() -> None:
    reader = HeadReader()
    read_as_served(reader, request({**KNOWN, "authorization": "Bearer one"}))
    found = reader.known(behind_body(request({**KNOWN, "authorization": "Bearer two"}, b"other").SerializeToString()))
    assert found is not None
    assert found.headers["authorization"] == "Bearer two"
    for other in ({"authorization": "Bearer three"}, {"user-agent": "b"}, {"traceparent": "c"}, {"api-key": "d"}):
        head = {**KNOWN, "authorization": "Bearer one", **other}
        assert reader.known(behind_body(request(head).SerializeToString())) is None


def test_no_credential_that_is_not_utf_8_is_known() -> None:
    reader = HeadReader()
    data = request({**KNOWN, "authorization": "Bearer one"}).SerializeToString()
    after = bytes(behind_body(data))
    reader.read(pb.ProcessingRequest.FromString(data), after)
    assert reader.known(after) is not None
    assert reader.known(after.replace(b"one", b"\xffne")) is None
    assert reader.known(after.replace(b"one", b"\xff  ")) is None
    assert reader.known(after.replace(b"one", b"\nne")) is None


@pytest.mark.parametrize(
    "more", [pb.ProcessingRequest(request_body={"body": b"b"}), pb.ProcessingRequest(request_headers={})]
)
def test_no_message_is_known_whose_body_is_another_one(more: pb.ProcessingRequest) -> None:
    reader, data = HeadReader(), request(KNOWN).SerializeToString() + more.SerializeToString()
    reader.read(pb.ProcessingRequest.FromString(data), behind_body(data))
    assert reader.known(behind_body(data)) is None


@given(st.lists(st.tuples(st.integers(-650, -1), st.integers(0, 255)), min_size=1, max_size=2))
def test_whatever_follows_a_body_it_is_read_as_it_is_by_the_parser(changes: list[tuple[int, int]]) -> None:
    reader = HeadReader()
    data = request({**KNOWN, "authorization": "Bearer one"}, b"a" * 50).SerializeToString()
    after = behind_body(data)
    reader.read(pb.ProcessingRequest.FromString(data), after)
    changed = bytearray(after)
    for at, value in changes:
        changed[max(at, -len(after))] = value
    found = reader.known(bytes(changed))
    if found is not None:
        message = pb.ProcessingRequest.FromString(data[: -len(after)] + bytes(changed))
        assert message.request_body.body == b"a" * 50
        assert found.headers == HeadReader().read(message).headers


SIZES = [0, 1, 127, 128, 16_000, 16_384, 100_000, 300_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("as_view", [False, True])
def test_the_body_is_found_whatever_its_size(size: int, as_view: bool) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    data = request({":path": "/v1/messages"}, body[:size]).SerializeToString()
    view = memoryview(data) if as_view else data
    message, found = parsed(view)
    assert found == body[:size]
    assert parsed(view, body_in_front(view))[1] == body[:size]
    assert HeadReader().read(message).headers == {":path": "/v1/messages"}


@pytest.mark.parametrize("size", SIZES[1:])
def test_of_several_bodies_the_last_one_counts_as_it_does_for_the_parser(size: int) -> None:
    first = request({":path": "/v1/messages"}, b"a" * 20_000).SerializeToString()
    for more in (pb.ProcessingRequest(request_body={"body": b"b" * size}), pb.ProcessingRequest(request_headers={})):
        _, found = parsed(first + more.SerializeToString())
        assert found == pb.ProcessingRequest.FromString(first + more.SerializeToString()).request_body.body


def test_a_body_that_is_longer_than_its_field_is_refused_as_it_is_by_the_parser() -> None:
    too_long = b"\x22\x0e" + b"\x0a\xd0\x8c\x01" + b"a" * 10  # 14 bytes, of which 18,000 are the body
    others = request({":path": "/v1/messages", "x-mine": "a" * 20_000})
    others.ClearField("request_body")
    data = too_long + others.SerializeToString()
    for parse in (parsed, pb.ProcessingRequest.FromString):
        with pytest.raises(DecodeError):
            parse(data)


@given(st.lists(st.tuples(st.integers(-24, 23), st.integers(0, 255)), max_size=3), st.integers(16_200, 18_000))
def test_whatever_lengths_a_message_claims_it_is_read_as_it_is_by_the_parser(
    changes: list[tuple[int, int]], size: int
) -> None:
    changed = bytearray(request({":path": "/v1/messages"}, b"\x0a\x00" * (size // 2)).SerializeToString())
    for at, value in changes:
        changed[at] = value
    try:
        expected = pb.ProcessingRequest.FromString(bytes(changed))
    except DecodeError:
        with pytest.raises(DecodeError):
            parsed(bytes(changed))
    else:
        assert parsed(bytes(changed))[1] == expected.request_body.body
