"""Files, batches and responses by their ids: each goes to the provider that has it, for its owner alone."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.extproc.clock_loop import pass_time, run
from tests.extproc.conftest import MODEL, Make
from tests.extproc.request.gateway import Gateway, seller

from limpet_extproc.dialects.port import Refusal
from limpet_extproc.dialects.registry import spoken
from limpet_extproc.providers.events import AttemptFailed
from limpet_extproc.request.pins import WAITS_S
from limpet_extproc.request.routing import Routing

ME = {"authorization": "Bearer me", ":method": "POST"}
YOU = {"authorization": "Bearer you", ":method": "POST"}
ENDPOINTS = ("files", "batches", "fine_tuning", "vector_stores", "conversations", "message_batches")
FORM = b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--x--\r\n'


@pytest.fixture
def gateway(make: Make) -> Gateway:
    providers = [seller(make, name, endpoints=ENDPOINTS, dialects=("OpenAIResponses",)) for name in "abc"]
    return Gateway(make.snapshot(*providers, make.provider("chat")))


def note(gateway: Gateway, routing: Routing, object_id: str) -> str:
    """The answer to this request, by the first of its order."""
    assert routing.record.owner
    gateway.pins.note(routing.record.owner, object_id, routing.decision.order[0])
    return routing.decision.order[0]


async def upload(gateway: Gateway, object_id: str = "file-1", **headers: str) -> str:
    form = {"content-type": "multipart/form-data; boundary=x"}
    return note(gateway, await gateway.route("/v1/files", FORM, **form, **(headers or ME)), object_id)


def read(headers: dict[str, str], method: str = "GET") -> dict[str, str]:
    return {**headers, ":method": method}


async def test_what_a_client_makes_comes_to_one_provider_and_others_to_others(gateway: Gateway) -> None:
    ways = [
        ("/v1/files", FORM, {"content-type": "multipart/form-data; boundary=x"}),
        ("/v1/vector_stores", {"name": "x"}, {}),
        ("/v1/conversations", b"", {}),
        ("/v1/conversations", {}, {}),
    ]
    mine = [await gateway.route(path, body, **headers, **ME) for path, body, headers in ways]
    assert {routing.decision.reason for routing in mine} == {"placed.object"}
    assert len({routing.decision.order for routing in mine}) == 1
    assert {routing.record.kind for routing in mine} == {"object"}
    firsts = set()
    for number in range(30):
        other = {"authorization": f"Bearer {number}", ":method": "POST"}
        firsts.add((await gateway.route("/v1/vector_stores", {}, **other)).decision.order[0])
    assert firsts == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/files/file-1"),
        ("GET", "/v1/files/file-1/content?x=y"),
        ("DELETE", "/files/file-1/"),
        ("POST", "/v1/files/file-1/x"),
    ],
)
async def test_a_request_by_id_goes_where_the_object_is(gateway: Gateway, method: str, path: str) -> None:
    home = await upload(gateway)
    for _ in range(5):
        gateway.tracker.apply(AttemptFailed(home))
    routing = await gateway.route(path, b"", **read(ME, method))
    assert (routing.decision.reason, routing.decision.order) == ("pinned.object", (home,))
    assert (routing.edits, routing.record.model) == (None, "")
    assert bool(routing.record.owner) == (method != "DELETE" and "content" not in path), "what it makes is known"


@pytest.mark.parametrize(
    "path",
    ["/v1/responses/resp_1", "/v1/responses/resp_1/cancel", "/v1/responses/resp_1/input_items"],
)
async def test_a_response_is_read_where_it_was_made(gateway: Gateway, path: str) -> None:
    made = await gateway.route("/v1/responses", {"model": "embed", "input": "x"}, **ME)
    home = note(gateway, made, "resp_1")
    assert (await gateway.route(path, b"", **read(ME))).decision.order == (home,)
    answer = await gateway.answer(path, b"", **read(YOU))
    assert isinstance(answer, Refusal)
    assert (answer.status, answer.message) == (404, "Response with id 'resp_1' not found.")


@pytest.mark.parametrize(
    ("query", "stream"), [("", False), ("?stream=true&starting_after=2", True), ("?x=1&stream=true", True)]
)
async def test_a_response_that_is_still_made_may_be_asked_for_as_a_stream(
    gateway: Gateway, query: str, stream: bool
) -> None:
    note(gateway, await gateway.route("/v1/responses", {"model": "embed", "input": "x"}, **ME), "resp_1")
    routing = await gateway.route(f"/v1/responses/resp_1{query}", b"", **read(ME))
    assert (routing.tries.stream, routing.record.streamed) == (stream, stream)


async def test_an_object_of_another_is_unknown(gateway: Gateway) -> None:
    await upload(gateway)
    for body, path in ((b"", "/v1/files/file-1"), ({"input_file_id": "file-1"}, "/v1/batches")):
        answer = await gateway.answer(path, body, **YOU)
        assert isinstance(answer, Refusal)
        assert (answer.status, answer.reason) == (404, "refused.object_gone")


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/batches", {"input_file_id": "file-1", "endpoint": "/v1/responses"}),
        ("/v1/fine_tuning/jobs", {"model": "base", "training_file": "file-1"}),
        ("/v1/vector_stores", {"file_ids": ["file-1"]}),
    ],
)
async def test_what_is_made_of_a_file_is_made_where_the_file_is(
    gateway: Gateway, path: str, fields: dict[str, Any]
) -> None:
    gateway.pins.note((await gateway.route("/v1/vector_stores", {}, **ME)).record.owner, "file-1", "b")
    routing = await gateway.route(path, fields, **ME)
    assert (routing.decision.order, routing.record.owner != "") == (("b",), True)


async def test_what_is_made_of_files_at_different_providers_is_refused(gateway: Gateway) -> None:
    owner = (await gateway.route("/v1/vector_stores", {}, **ME)).record.owner
    gateway.pins.note(owner, "file-1", "a")
    gateway.pins.note(owner, "file-2", "b")
    answer = await gateway.answer("/v1/vector_stores", {"file_ids": ["file-1", "file-2"]}, **ME)
    assert isinstance(answer, Refusal)
    assert (answer.status, answer.code) == (400, "objects_apart")
    assert "'file-1' at a, 'file-2' at b" in answer.message


def late(asked: Callable[[], Any]) -> Any:
    """The answer after all waits for an id."""
    answers: list[Any] = []

    async def story() -> None:
        task = asyncio.create_task(asked())
        for wait_s in (0, *WAITS_S):
            await pass_time(wait_s)
            await pass_time(0)  # many are looked up at once
        answers.append(await task)

    run(story())
    return answers[0]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/files/file-9", b""),
        ("/v1/responses/resp_9", b""),
        ("/v1/messages/batches/msgbatch_9", b""),
        ("/v1/batches", {"input_file_id": "file-9"}),
    ],
)
def test_an_id_that_nobody_knows_is_not_found(gateway: Gateway, path: str, body: Any) -> None:
    answer = late(lambda: gateway.answer(path, body, **ME))
    assert isinstance(answer, Refusal)
    assert (answer.status, answer.reason) == (404, "refused.object_gone")
    error = json.loads(spoken(path).dialect.error_body(answer))
    assert error["error"]["type"] == ("not_found_error" if "messages" in path else "invalid_request_error")


def test_a_file_that_nobody_knows_is_not_even_asked_of_the_only_provider(make: Make) -> None:
    gateway = Gateway(make.snapshot(seller(make, "a", endpoints=ENDPOINTS)))
    answer = late(lambda: gateway.answer("/v1/batches", {"input_file_id": "file-9"}, **ME))
    assert isinstance(answer, Refusal)
    assert (answer.status, answer.reason) == (404, "refused.object_gone")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/vector_stores/vs_1/files", {"file_id": "file-1"}),
        ("/v1/vector_stores/vs_1/file_batches", {"files": [{"file_id": "file-1"}]}),
        ("/v1/conversations/vs_1/items", {"items": [{"type": "item_reference", "id": "file-1"}]}),
        (
            "/v1/vector_stores/vs_1/x",
            b'--x\r\nContent-Disposition: form-data; name="file_ids[]"\r\n\r\nfile-1\r\n--x--\r\n',
        ),
    ],
)
async def test_what_a_request_by_id_names_is_the_clients_own_too(gateway: Gateway, path: str, body: Any) -> None:
    await upload(gateway)
    form = {"content-type": "multipart/form-data; boundary=x"} if isinstance(body, bytes) else {}
    for who in (ME, YOU):
        owner = (await gateway.route("/v1/vector_stores", {}, **who)).record.owner
        gateway.pins.note(owner, "vs_1" if who is ME else "vs_2", await upload(gateway))
        answer = await gateway.answer(path.replace("vs_1", "vs_1" if who is ME else "vs_2"), body, **form, **who)
        if who is ME:
            assert isinstance(answer, Routing)
        else:
            assert isinstance(answer, Refusal)
            assert (answer.status, answer.reason) == (404, "refused.object_gone")


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "Application/X-WWW-Form-Urlencoded; a=b"]
)
async def test_a_form_that_cannot_be_read_is_refused(gateway: Gateway, content_type: str) -> None:
    answer = await gateway.answer(
        "/v1/batches", {"a": "&input_file_id=file-1&"}, **ME, **{"content-type": content_type}
    )
    assert isinstance(answer, Refusal)
    assert answer.status == 400


async def test_a_turn_that_goes_on_is_searched_as_well(gateway: Gateway) -> None:
    home = await upload(gateway)
    owner = (await gateway.route("/v1/vector_stores", {}, **YOU)).record.owner
    gateway.pins.note(owner, "resp_1", home)
    answer = await gateway.answer("/v1/responses", {**turn("file-1"), "previous_response_id": "resp_1"}, **YOU)
    assert isinstance(answer, Refusal)
    assert (answer.status, answer.reason) == (404, "refused.object_gone")


def test_any_number_of_ids_is_waited_for_once(gateway: Gateway) -> None:
    many = {"file_ids": [f"file-{number}" for number in range(500)]}
    answer = late(lambda: gateway.answer("/v1/vector_stores", many, **ME))
    assert isinstance(answer, Refusal)
    assert answer.status == 404


@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches?limit=2", "/v1/fine_tuning/jobs/"])
async def test_a_list_is_refused_as_it_would_show_what_is_others(gateway: Gateway, path: str) -> None:
    answer = await gateway.answer(path, b"", **read(ME))
    assert isinstance(answer, Refusal)
    assert (answer.status, answer.reason, answer.code) == (405, "refused.method", "list_not_supported")


async def test_a_path_that_could_lead_elsewhere_is_not_found_at_once(gateway: Gateway) -> None:
    await upload(gateway)
    answer = await gateway.answer("/v1/files/file-1/../file-2", b"", **read(ME))
    assert isinstance(answer, Refusal)
    assert answer.status == 404


async def test_an_api_that_no_provider_lists_is_refused(make: Make) -> None:
    answer = await Gateway(make.snapshot(make.provider("a"))).answer("/v1/files", {"x": 1}, **ME)
    assert isinstance(answer, Refusal)
    assert "A Provider lists 'files' in spec.endpoints" in answer.message


async def test_a_model_that_is_served_gets_its_providers_and_their_name_for_it(make: Make) -> None:
    gateway = Gateway(make.snapshot(*(make.provider(n, upstream=f"{n}-m", endpoints=("videos",)) for n in "ab")))
    routing = await gateway.route("/v1/videos", {"model": MODEL, "prompt": "x"}, **ME)
    assert routing.edits is not None
    assert routing.record.model == MODEL
    other = await gateway.route("/v1/videos", {"model": "sora-base", "prompt": "x"}, **ME)
    assert (other.edits, other.record.model) == (None, "")


def turn(file_id: str) -> dict[str, Any]:
    return {"model": "embed", "input": [{"role": "user", "content": [{"type": "input_file", "file_id": file_id}]}]}


@pytest.mark.parametrize("home", "abc")
async def test_a_turn_goes_where_the_file_is_that_it_names(gateway: Gateway, home: str) -> None:
    gateway.pins.note((await gateway.route("/v1/vector_stores", {}, **ME)).record.owner, "file-1", home)
    routing = await gateway.route("/v1/responses", turn("file-1"), **ME)
    assert (routing.decision.reason, routing.decision.order) == ("pinned.object", (home,))
    answer = await gateway.answer("/v1/responses", turn("file-1"), **YOU)
    assert isinstance(answer, Refusal)
    assert (answer.status, answer.reason) == (404, "refused.object_gone")


def test_a_file_from_elsewhere_does_not_hinder_a_turn(gateway: Gateway) -> None:
    answer = late(lambda: gateway.answer("/v1/responses", turn("file-9"), **ME))
    assert isinstance(answer, Routing)
    assert answer.decision.reason == "first.scored"


async def test_where_nobody_keeps_files_a_turn_is_not_searched_for_them(make: Make) -> None:
    gateway = Gateway(make.snapshot(*(seller(make, name, dialects=("OpenAIResponses",)) for name in "ab")))
    assert (await gateway.route("/v1/responses", turn("file-9"), **ME)).decision.reason == "first.scored"
