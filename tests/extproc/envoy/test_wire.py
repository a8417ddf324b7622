"""Envoy's messages read without their classes: the classes agree about every byte."""

from contextlib import suppress

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.envoy.wire import body_apart, not_utf8


@given(st.binary(max_size=300), st.text(max_size=200), st.booleans())
def test_body_and_rest_are_what_the_parser_finds(body: bytes, head: str, end: bool) -> None:
    message = pb.ProcessingRequest()
    message.request_body.body = body
    message.request_body.end_of_stream = end
    message.attributes["envoy.filters.http.ext_proc"].fields["head"].string_value = head
    rest, found = body_apart(message.SerializeToString())
    message.ClearField("request_body")
    assert found == body
    assert pb.ProcessingRequest.FromString(rest) == message


def test_a_message_of_headers_has_no_body() -> None:
    message = pb.ProcessingRequest()
    message.request_headers.headers.headers.add(key=":path", raw_value=b"/")
    rest, body = body_apart(message.SerializeToString())
    assert (pb.ProcessingRequest.FromString(rest), bytes(body)) == (message, b"")


@given(st.binary(max_size=40))
def test_no_bytes_lead_to_anything_but_a_message_or_a_value_error(data: bytes) -> None:
    with suppress(ValueError):
        body_apart(data)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b":path /\nuser-agent caf\xe9\nx-session-id a", "user-agent"),
        (b"user-agent caf\xc3\xa9", None),
        (b"x-a ok\nx-b \xff\nx-c \xff", "x-b"),
    ],
)
def test_the_header_that_is_not_utf_8_is_found(head: bytes, name: str | None) -> None:
    assert not_utf8(head) == name
