"""Requests for objects by their ids, which Envoy announces by their headers alone."""

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from tests.extproc.conftest import Make
from tests.extproc.envoy.test_server import Server, body_message, headers_message, metadata

from limpet_extproc.request.identity import owner


@pytest.fixture
def keeper(make: Make) -> Server:
    """Of a gateway with one provider of Responses, who has made one for clients without a key."""
    server = Server(make.snapshot(make.provider("a", dialects=("OpenAIResponses",)), make.provider("b")))
    server.pins.note(owner(b"secret", b"").name, "resp_1", "a")
    return server


OF_RESPONSE = {":path": "/v1/responses/resp_1", ":method": "GET"}


@pytest.mark.parametrize("end", [True, False], ids=["without a body", "with one that is passed on"])
async def test_a_request_by_id_is_answered_at_its_headers(keeper: Server, end: bool) -> None:
    asked = body_message(b"", **OF_RESPONSE)
    asked.request_headers.end_of_stream = end
    answer = pb.ProcessingResponse.FromString(await keeper.extproc.one(asked.SerializeToString()))
    assert answer.request_headers.response.clear_route_cache
    assert answer.request_headers.response.HasField("header_mutation")
    written = metadata(answer)
    assert [group["name"] for group in written["limpet.route"]["priority_groups"]] == ["a", "a"]
    assert written["limpet.decision"] == {"reason": "pinned.object", "model": "", "api": "OpenAIResponses"}


async def test_a_request_by_id_is_refused_at_its_headers(keeper: Server) -> None:
    keeper.pins.note("another", "resp_2", "a")
    asked = body_message(b"", **{**OF_RESPONSE, ":path": "/v1/responses/resp_2"})
    asked.request_headers.end_of_stream = True
    refused = pb.ProcessingResponse.FromString(await keeper.extproc.one(asked.SerializeToString())).immediate_response
    assert (refused.status.code, refused.details) == (404, "limpet_refused.object_gone:id")


CANCEL = {":path": "/v1/responses/resp_1/cancel", ":method": "POST"}


@pytest.mark.parametrize("end", [True, False], ids=["without a body", "with one that is passed on"])
@pytest.mark.parametrize(
    "asked", [OF_RESPONSE, {**OF_RESPONSE, ":method": "DELETE"}, {**CANCEL, "content_length": "0"}]
)
async def test_in_header_mode_a_request_by_id_is_answered_at_its_headers(
    keeper: Server, end: bool, asked: dict[str, str]
) -> None:
    (answer,) = await keeper.say(headers_message(end=end, **asked))
    (option,) = answer.request_headers.response.header_mutation.set_headers
    assert (option.header.key, option.header.raw_value) == ("x-limpet-cluster", b"a")
    (other,) = await keeper.say(headers_message(end=True))
    assert not other.request_headers.HasField("response")
    waits, _ = await keeper.say(headers_message(end=False, **{**CANCEL, "content_length": "2"}), body_message(b"{}"))
    assert not waits.request_headers.HasField("response")


async def test_a_worker_that_is_not_ready_lets_a_request_by_id_go_on(make: Make) -> None:
    server = Server(make.snapshot(), ready=False)
    asked = body_message(b"", **OF_RESPONSE)
    asked.request_headers.end_of_stream = True
    answer = pb.ProcessingResponse.FromString(await server.extproc.one(asked.SerializeToString()))
    assert answer.WhichOneof("response") == "request_headers"
