"""Envoy's messages in and out as raw bytes, over a call that the test plays."""

import json
from typing import Any

import msgspec
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf.json_format import MessageToDict
from prometheus_client import CollectorRegistry
from tests.extproc.conftest import Make
from tests.extproc.splicing import spliced

from limpet_extproc.contract.record import decode
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.envoy.server import ExtProc
from limpet_extproc.memory import Warm
from limpet_extproc.memory.in_process import InProcessMemory
from limpet_extproc.memory.in_process_heads import InProcessHeads
from limpet_extproc.memory.in_process_objects import InProcessObjects
from limpet_extproc.providers.events import AttemptFailed
from limpet_extproc.providers.limit_use import LimitUse
from limpet_extproc.providers.tracker import ProviderTracker
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.pins import Pins
from limpet_extproc.request.reading import RequestReader
from limpet_extproc.request.router import Router, StickyRouting
from limpet_extproc.request.routing import Routing
from limpet_extproc.request.splices import Splice
from limpet_extproc.telemetry.metrics import WorkerMetrics

NOW = 1000.0


class Call:
    """A stream: what Envoy sends, and what it gets."""

    def __init__(self, *messages: pb.ProcessingRequest) -> None:
        self._messages = [message.SerializeToString() for message in messages]
        self.written: list[Any] = []

    async def read(self) -> object:
        return self._messages.pop(0) if self._messages else object()

    async def write(self, data: bytes) -> None:
        self.written.append(pb.ProcessingResponse.FromString(data))


class Server:
    """One worker without its gRPC server. `router` stands in for our own."""

    def __init__(
        self, snapshot: Any, *, router: Router | None = None, ready: bool = True, translated: tuple[str, ...] = ()
    ) -> None:
        self.memory, self.heads = InProcessMemory(), InProcessHeads()
        self.tracker = ProviderTracker(lambda: NOW, lambda _change: None)
        self.registry = CollectorRegistry()
        self.pins = Pins(InProcessObjects(), b"secret", lambda: NOW)
        own = StickyRouting(
            RequestReader().read,
            lambda: snapshot,
            self.memory,
            self.heads,
            self.tracker,
            LimitUse("node/0", lambda: NOW),
            self.pins,
            b"secret",
            lambda: NOW,
            lambda: b"seed",
            RequestReader().untranslatable,
            RequestReader().references,
        )
        self.metrics = WorkerMetrics(self.registry)
        self.extproc = ExtProc(router or own, self.metrics, lambda: ready, translated=lambda _: translated)

    async def say(self, *messages: pb.ProcessingRequest) -> list[Any]:
        call = Call(*messages)
        await self.extproc.process(call)
        return call.written

    def counted(self, name: str, **labels: str) -> float:
        self.metrics.flush()
        return self.registry.get_sample_value(name, labels) or 0.0


def body_message(body: bytes, **headers: str) -> pb.ProcessingRequest:
    """As in the default mode: the body, and what matters of the headers as an attribute, with a line for each."""
    message = pb.ProcessingRequest()
    message.request_body.body = body
    message.request_body.end_of_stream = True
    fields = message.attributes["envoy.filters.http.ext_proc"].fields
    given = {":path": "/v1/chat/completions", "authorization": "", **headers}
    lines = (f"{name.replace('_', '-')} {value}" for name, value in given.items())
    fields["filter_state['limpet.head']"].string_value = "\n".join(lines)
    return message


def headers_message(*, end: bool = False, **headers: str) -> pb.ProcessingRequest:
    """As in Header mode: all headers before the body."""
    message = pb.ProcessingRequest()
    message.request_headers.end_of_stream = end
    for name, value in {":path": "/v1/chat/completions", **headers}.items():
        message.request_headers.headers.headers.add(key=name.replace("_", "-"), raw_value=value.encode())
    return message


def metadata(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = MessageToDict(answer.dynamic_metadata)
    return found


@pytest.fixture
def server(make: Make) -> Server:
    return Server(make.snapshot(make.provider("a"), make.provider("b", upstream="B"), spread_within_percent=0.0))


async def test_one_message_in_and_one_out_with_order_record_and_edits(make: Make, server: Server) -> None:
    body = make.body(session_id="s")
    (answer,) = await server.say(body_message(body))
    response = answer.request_body.response
    assert response.clear_route_cache
    assert response.HasField("header_mutation"), "clear_route_cache counts only with one beside it"
    written = metadata(answer)
    order = [group["name"] for group in written["limpet.route"]["priority_groups"]]
    assert order in (["a", "a", "b"], ["b", "b", "a"]), "the first once more, if it closes the connection"
    assert (written["limpet.route"]["tries"], written["limpet.route"]["route"]) == (2, "4w0")
    assert written["limpet.route"]["priority_groups"][0]["clusters"] == [{"cluster_name": order[0], "weight": 1}]
    assert written["limpet.decision"]["reason"] == "first.scored"
    record = decode(written["limpet.record"]["v"])
    assert record is not None
    assert (list(record.order), record.identified_by) == (order[::2], "session_id")
    decision = written["limpet.decision"]
    assert decision["model"] == "flash"
    splices = tuple(Splice(int(offset), int(length), text) for offset, length, text in decision["edits"].pop(""))
    assert not decision["edits"], "one list serves those that call the model otherwise and those that do not"
    assert spliced(body, splices) == make.body()
    assert spliced(body, splices, "B") == make.body(model="B")
    assert server.counted("limpet_decisions_total", reason="first.scored") == 1
    assert server.counted("limpet_added_seconds_count") == 1


@pytest.mark.parametrize("text", ["Hello", "x" * 100_000], ids=["small", "large"])
@pytest.mark.parametrize("header", ["user_agent", "x_session_id", ":path"])
async def test_a_header_that_is_not_utf_8_is_refused_by_its_name(
    make: Make, server: Server, header: str, text: str
) -> None:
    data = body_message(make.body(text), **{header: "cafe"}).SerializeToString().replace(b"cafe", b"caf\xe9")
    answer = pb.ProcessingResponse.FromString(await server.extproc.one(data)).immediate_response
    assert answer.status.code == 400
    assert answer.details == "limpet_refused.bad_request"
    assert f"the header '{header.replace('_', '-')}' is not UTF-8" in json.loads(answer.body)["error"]["message"]
    assert server.counted("limpet_decisions_total", reason="refused.bad_request") == 1


async def test_a_large_body_is_read_where_the_message_holds_it(make: Make, server: Server) -> None:
    for size in (10, 70_000, 200_000):
        data = body_message(make.body("x" * size, session_id="s"), x_session_id="one").SerializeToString()
        answer = pb.ProcessingResponse.FromString(await server.extproc.one(data))
        record = decode(metadata(answer)["limpet.record"]["v"])
        assert record is not None
        assert (record.identified_by, record.prompt_tokens) == (
            "x-session-id",
            (len(make.body("x" * size, session_id="s"))) // 3,
        )


async def test_a_provider_that_the_route_knows_is_only_named(make: Make, server: Server) -> None:
    for route_knows, described in (("a b", ()), ("a x", ("b",)), ("", ("a", "b"))):
        (answer,) = await server.say(body_message(make.body(), **{":route": route_knows}))
        groups = metadata(answer)["limpet.route"]["priority_groups"]
        assert {group["name"] for group in groups} == {"a", "b"}
        assert {group["name"] for group in groups if "clusters" in group} == {*described}


async def test_a_body_that_stays_as_it_is_has_no_edits_but_its_models_name(make: Make) -> None:
    server = Server(make.snapshot(make.provider("a")))
    (answer,) = await server.say(body_message(make.body()))
    decision = {"reason": "first.scored", "model": "flash"}
    assert metadata(answer)["limpet.decision"] == decision


async def test_a_streamed_request_waits_as_the_most_patient_of_its_order_does(make: Make) -> None:
    quick = make.provider("a")
    slow = msgspec.structs.replace(make.provider("b"), wait_level=1)
    for providers, stream, route in (
        ((quick,), True, "2s0"),
        ((quick,), False, "2w0"),
        ((quick, slow), True, "4s1"),
        ((quick, slow), None, "4w0"),
    ):
        server = Server(make.snapshot(*providers))
        (answer,) = await server.say(body_message(make.body(stream=stream)))
        written = metadata(answer)
        assert written["limpet.route"]["route"] == route


async def test_where_a_timeout_is_followed_by_another_provider_each_is_tried_once(make: Make) -> None:
    server = Server(make.snapshot(make.provider("a"), make.provider("b"), on_timeout="NextProvider"))
    (answer,) = await server.say(body_message(make.body()))
    written = metadata(answer)
    assert (written["limpet.route"]["tries"], written["limpet.route"]["route"]) == (1, "2w0")
    assert len(written["limpet.route"]["priority_groups"]) == 2
    assert written["limpet.decision"]["patience_ms"] == 600_000
    (answer,) = await server.say(body_message(make.body(stream=True)))
    assert "patience_ms" not in metadata(answer)["limpet.decision"], "of streams Envoy says what was a timeout"


async def test_a_policy_that_saves_caches_hands_envoy_its_bound_for_warm_conversations_only(make: Make) -> None:
    server = Server(make.snapshot(make.provider("a"), failover="SaveCache", save_cache_within_s=5.0))
    (first,) = await server.say(body_message(make.body()))
    record = decode(metadata(first)["limpet.record"]["v"])
    assert record is not None
    assert "save_cache_s" not in metadata(first)["limpet.decision"]
    server.memory.remember(record.key, Warm("a", NOW + 60), 4, NOW)
    (second,) = await server.say(body_message(make.body()))
    assert metadata(second)["limpet.decision"]["save_cache_s"] == 5.0
    assert metadata(second)["limpet.route"] == metadata(first)["limpet.route"]


async def test_headers_that_arrive_as_an_attribute_name_the_conversation(make: Make, server: Server) -> None:
    for headers in ({"x_session_id": "one"}, {"x_session_id": "two"}, {"x_session_id": "one"}):
        await server.say(body_message(make.body(), **headers))
    assert len(server.memory) == 2


async def test_in_header_mode_two_messages_choose_one_cluster(make: Make, server: Server) -> None:
    answers = await server.say(headers_message(x_session_id="s"), body_message(make.body()))
    first, second = answers
    assert first.WhichOneof("response") == "request_headers"
    response = second.request_body.response
    assert response.clear_route_cache
    (option,) = response.header_mutation.set_headers
    record = decode(metadata(second)["limpet.record"]["v"])
    assert record is not None
    assert (option.header.key, option.header.raw_value.decode()) == ("x-limpet-cluster", record.order[0])
    assert option.append_action == option.OVERWRITE_IF_EXISTS_OR_ADD
    assert record.identified_by == "x-session-id"
    assert "limpet.route" not in metadata(second)


async def test_in_header_mode_too_a_header_that_is_not_utf_8_is_refused(make: Make, server: Server) -> None:
    message = headers_message(authorization="cafe")
    message.request_headers.headers.headers[-1].raw_value = b"caf\xe9"
    (answer,) = await server.say(message, body_message(make.body()))
    assert answer.immediate_response.status.code == 400
    assert "the header 'authorization' is not UTF-8" in answer.immediate_response.body.decode()
    assert server.counted("limpet_decisions_total", reason="refused.bad_request") == 1


async def test_in_header_mode_other_headers_need_not_be_utf_8(make: Make, server: Server) -> None:
    message = headers_message(x_other="cafe")
    message.request_headers.headers.headers[-1].raw_value = b"caf\xe9"
    _, answer = await server.say(message, body_message(make.body()))
    assert answer.HasField("request_body")


async def test_in_header_mode_a_request_without_a_body_passes(server: Server) -> None:
    (answer,) = await server.say(headers_message(end=True))
    assert answer.WhichOneof("response") == "request_headers"


async def test_a_client_that_leaves_before_its_body_is_no_fault(server: Server) -> None:
    assert await server.say() == []
    assert len(await server.say(headers_message())) == 1


async def test_a_refusal_ends_the_request_with_its_reason(server: Server) -> None:
    (answer,) = await server.say(body_message(b'{"model":"nope","messages":[{"role":"user","content":"x"}]}'))
    immediate = answer.immediate_response
    headers = {each.header.key: each.header.raw_value.decode() for each in immediate.headers.set_headers}
    assert immediate.status.code == 404
    assert headers == {"content-type": "application/json", "x-limpet-decision": "refused.unknown_model"}
    assert immediate.details == "limpet_refused.unknown_model:model:nope"
    assert json.loads(immediate.body)["error"]["code"] == "model_not_found"
    assert server.counted("limpet_decisions_total", reason="refused.unknown_model") == 1


def is_let_through(answer: Any) -> bool:
    return bool(answer == pb.ProcessingResponse(request_body=pb.BodyResponse()))


async def test_before_the_first_catalog_everything_is_let_through(make: Make, server: Server) -> None:
    unready = Server(make.snapshot(), ready=False)
    (answer,) = await unready.say(body_message(make.body()))
    assert is_let_through(answer)


class Broken:
    """A router with a bug in it."""

    async def route(self, head: RequestHead, body: bytes | memoryview) -> Routing | Refusal:
        raise ZeroDivisionError(f"{head.dialect} {len(body)}")


async def test_a_fault_of_ours_lets_the_request_through_and_is_counted(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(make.snapshot(), router=Broken())
    (answer,) = await server.say(body_message(make.body("a secret")))
    assert is_let_through(answer)
    assert server.counted("limpet_extproc_failures_total") == 1
    assert "please report this" in caplog.text
    assert "a secret" not in caplog.text


async def test_the_client_hears_why_should_all_fail(make: Make, server: Server) -> None:
    for _ in range(3):
        server.tracker.apply(AttemptFailed("a"))
    (answer,) = await server.say(body_message(make.body()))
    assert metadata(answer)["limpet.decision"]["why"].startswith("a failed 3 times in a row, out for 0 s")


async def test_observe_counts_what_enforce_would_have_done(make: Make) -> None:
    server = Server(make.snapshot(make.provider("a"), mode="Observe"))
    await server.say(body_message(make.body()))
    assert server.counted("limpet_decisions_total", reason="observe.spread") == 1
    assert server.counted("limpet_observed_decisions_total", reason="first.scored") == 1


def _turns(clock: str) -> list[bytes]:
    """Three requests of one conversation, with a text in the system prompt that may change from turn to turn."""
    turns = [{"role": "user", "content": "Up and away"}]
    bodies = []
    for turn in range(3):
        system = {"role": "system", "content": f"Be brief. It is {clock.format(turn)}."}
        bodies.append(json.dumps({"model": "flash", "messages": [system, *turns]}).encode())
        turns += [{"role": "assistant", "content": "Whereto?"}, {"role": "user", "content": "On"}]
    return bodies


@pytest.mark.parametrize(
    ("clock", "headers", "unrecognised"),
    [("20:0{}", {}, 2), ("evening", {}, 0), ("20:0{}", {"x_session_id": "mine"}, 0)],
)
async def test_a_conversation_whose_opener_changes_from_turn_to_turn_is_noticed(
    make: Make, clock: str, headers: dict[str, str], unrecognised: int
) -> None:
    server = Server(make.snapshot(make.provider("a"), make.provider("b")))
    for body in _turns(clock):
        await server.say(body_message(body, **headers))
    assert server.counted("limpet_unrecognised_turns_total", model="flash") == unrecognised


async def test_an_envoy_that_sends_one_message_gets_the_answer_as_the_end_of_the_call(make: Make) -> None:
    server = Server(make.snapshot(make.provider("a")))
    answer = pb.ProcessingResponse.FromString(await server.extproc.one(body_message(make.body()).SerializeToString()))
    assert answer.request_body.response.clear_route_cache
    assert answer.dynamic_metadata["limpet.decision"]["reason"] == "first.scored"
