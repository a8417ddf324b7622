"""Header mode for Envoys that are not ours: which clusters they are told, and what their logs teach."""

from typing import Any

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf.json_format import MessageToDict
from msgspec.structs import replace
from tests.extproc.conftest import Make
from tests.extproc.envoy.log_world import RECORD, World, entry
from tests.extproc.envoy.test_server import Call, Server, headers_message

from limpet_extproc.contract.envoy import CLUSTER_HEADER, PLAIN_NAMES
from limpet_extproc.envoy.cluster_names import UNUSABLE, ClusterNames, cluster_names

NAMES = cluster_names("outbound|80||{name}.{namespace}.providers.limpet.internal")
PLAIN = cluster_names(PLAIN_NAMES)


def asked(body: bytes) -> tuple[Any, Any]:
    head, message = headers_message(), headers_message()
    message.Clear()
    message.request_body.body = body
    message.request_body.end_of_stream = True
    return head, message


async def answered(server: Server, body: bytes, names: Any) -> Any:
    call = Call(*asked(body))
    await server.extproc.process(call, names)
    return call.written[-1]


async def test_a_sidecar_is_told_its_own_name_of_the_cluster(make: Make) -> None:
    server = Server(make.snapshot(make.provider("a", upstream="A")))
    answer = await answered(server, make.body(), NAMES)
    response = answer.request_body.response
    (option,) = response.header_mutation.set_headers
    assert (option.header.key, option.header.raw_value) == (
        "x-limpet-cluster",
        b"outbound|80||a.default.providers.limpet.internal",
    )
    assert response.clear_route_cache
    metadata = MessageToDict(answer.dynamic_metadata)
    assert metadata["limpet.decision"]["edits"][""], "the edits are in the same answer"
    assert metadata["limpet.record"]["v"]


async def test_without_a_usable_template_nothing_is_decided(make: Make) -> None:
    server = Server(make.snapshot(make.provider("a")))
    call = Call(*asked(make.body()))
    await server.extproc.process(call, UNUSABLE)
    (answer,) = call.written
    assert answer == pb.ProcessingResponse(request_headers=pb.HeadersResponse())
    assert server.counted("limpet_decisions_total", reason="first.scored") == 0


@pytest.mark.parametrize(
    ("path", "decided"),
    [
        ("/v1/chat/completions", True),
        ("/openai/v1/chat/completions?x=1", True),
        ("/v1/responses", True),
        ("/v1/messages/count_tokens", True),
        ("/v1/responses/resp_1", False),
        ("/v1/files", False),
        ("/v1/embeddings", False),
        ("/v1/models", False),
        ("/v1/nothing", False),
        ("/prefix/v1/chat/completions", False),
        ("/v1/chat/completions/../../admin", False),
        ("/", False),
    ],
)
async def test_only_turns_are_decided(make: Make, path: str, decided: bool) -> None:
    server = Server(make.snapshot(make.provider("a", dialects=("OpenAIChat", "OpenAIResponses", "AnthropicMessages"))))
    for method in ("POST", "GET"):
        head, message = headers_message(), asked(make.body())[1]
        head.request_headers.headers.headers[0].raw_value = path.encode()
        head.request_headers.headers.headers.add(key=":method", raw_value=method.encode())
        call = Call(head, message)
        await server.extproc.process(call, NAMES)
        assert (len(call.written) == 2) == (decided and method == "POST")


async def test_what_needs_a_translator_is_left_to_the_gateway(make: Make) -> None:
    server = Server(make.snapshot(make.provider("a")), translated=("OpenAIChat",))
    mutation = (await answered(server, make.body(), NAMES)).request_body.response.header_mutation
    assert not mutation.set_headers
    assert list(mutation.remove_headers) == ["x-limpet-cluster"]
    ours = await answered(server, make.body(), None)
    assert [option.header.raw_value for option in ours.request_body.response.header_mutation.set_headers] == [b"a"]


async def test_a_sidecars_log_teaches_under_our_names() -> None:
    world = World()
    await world.take(entry(NAMES.of("a")), names=NAMES)
    assert [warm.provider for warm in await world.warm()] == ["a"]
    assert world.counted("limpet_requests_total", provider="a", decision="first.scored", outcome="ok") == 1


@pytest.mark.parametrize("cluster", ["outbound|80||limpet-gateway.limpet.svc.cluster.local", "a", NAMES.of("b")])
async def test_what_went_elsewhere_is_others_affair(cluster: str) -> None:
    world = World()
    await world.take(entry(cluster), entry(cluster, record=None), names=NAMES)
    assert await world.warm() == ()
    assert world.counted("limpet_requests_total", provider=cluster, decision="first.scored", outcome="ok") == 0
    assert world.counted("limpet_requests_total", provider="a", decision="first.scored", outcome="ok") == 0


async def test_a_providers_failure_at_a_sidecar_is_the_providers() -> None:
    world = World()
    for _ in range(5):
        await world.take(entry(NAMES.of("a"), 503, record=RECORD), names=NAMES)
    assert world.counted("limpet_attempts_total", provider="a", outcome="failed_503") == 5


@pytest.mark.parametrize(("answered_there", "learned"), [("default/a", ["a"]), ("default/b", []), ("", [])])
async def test_an_envoy_with_names_of_its_own_says_on_the_answer_which_provider_it_was(
    answered_there: str, learned: list[str]
) -> None:
    world, logged = World(), entry("httproute/apps/llm/rule/0")
    if answered_there:
        logged.response.response_headers[CLUSTER_HEADER] = answered_there
    await world.take(logged, names=PLAIN)
    assert [warm.provider for warm in await world.warm()] == learned


@pytest.mark.parametrize(("names", "outcome"), [(NAMES, "failed"), (PLAIN, "ok")])
async def test_where_nobody_reads_answers_one_without_usage_is_no_failure(names: ClusterNames, outcome: str) -> None:
    record = replace(RECORD, order=("reporting",), ttls_s=(300.0,))
    world, logged = World(), entry(names.of("reporting"), record=record, usage=None)
    logged.response.response_headers[CLUSTER_HEADER] = names.of("reporting")
    await world.take(logged, names=names)
    counted = world.counted("limpet_requests_total", provider="reporting", decision="first.scored", outcome=outcome)
    assert counted == 1


async def test_an_answer_that_nobody_waited_for_is_no_success_there_either() -> None:
    world, logged = World(), entry("default/a", usage=None, flags=("downstream_connection_termination",))
    await world.take(logged, names=PLAIN)
    assert await world.warm() == ()


@pytest.mark.parametrize(
    ("status", "counted"),
    [
        (400, ""),
        (401, "failed_401"),
        (402, "failed_402"),
        (403, "failed_403"),
        (404, ""),
        (413, ""),
        (429, "limited"),
        (503, "failed_503"),
    ],
)
async def test_where_nobody_reads_errors_their_status_tells_whose_fault_they_are(status: int, counted: str) -> None:
    world, logged = World(), entry("default/a", status, usage=None)
    await world.take(logged, names=PLAIN)
    assert await world.failed() == (("a",) if counted else ())
    for outcome in ("limited", f"failed_{status}"):
        assert world.counted("limpet_attempts_total", provider="a", outcome=outcome) == (outcome == counted)
