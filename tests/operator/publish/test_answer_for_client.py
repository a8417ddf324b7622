"""What a client gets of a good answer: its own name of the model, no usage unasked, and every event when it came."""

import gzip
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operator.publish.lua_world import LuaWorld, Reply

from limpet_extproc.contract.envoy import OBJECT_ID, OBJECT_IDS, OBJECT_METADATA, TRAIL_MESSAGE, TRAIL_METADATA

_SSE = {"content-type": "text/event-stream"}
_JSON = {"content-type": "application/json"}
_LUA = LuaWorld()


@pytest.fixture
def lua() -> LuaWorld:
    return _LUA


def data(**members: Any) -> bytes:
    """One event."""
    return b"data: " + json.dumps(members).encode() + b"\n\n"


def chunk(text: str, **members: Any) -> dict[str, Any]:
    """One event of a streamed completion by the vendor's model."""
    return {"id": "c", "model": "vendors-1", "choices": [{"index": 0, "delta": {"content": text}}], **members}


def named(events: list[bytes], name: str = "theirs") -> list[bytes]:
    return [each.replace(b"vendors-1", name.encode()) for each in events]


_LOOKALIKE = {"model": "x", "tool_calls": [{"arguments": {"model": "vendors-2"}}]}
_MESSAGE = {"id": "msg_1", "type": "message", "model": "vendors-1", "content": []}
_RESPONSE = {"id": "resp_1", "object": "response", "model": "vendors-1", "output": []}

STREAMS: dict[str, tuple[str, list[bytes]]] = {
    "chat": ("OpenAIChat", [data(**chunk("a")), data(**chunk('"model":"vendors"')), data(**chunk("b"))]),
    "chat whose chunks differ": (
        "OpenAIChat",
        [data(**chunk("a")), data(id="d", model="vendors-1", choices=[_LOOKALIKE]), data(created=1, **chunk("b"))],
    ),
    "chat with an empty model first": (
        "OpenAIChat",
        [data(model="vendors-1", choices=[], prompt_filter_results=[]), data(**chunk("a")), data(choices=[{}])],
    ),
    "text": ("completions", [data(model="vendors-1", choices=[{"text": "a"}])]),
    "a message": (
        "AnthropicMessages",
        [
            b"event: message_start\n" + data(type="message_start", message=_MESSAGE),
            b"event: ping\n" + data(type="ping"),
            b"event: content_block_start\n" + data(type="content_block_start", content_block=_LOOKALIKE),
            data(type="content_block_delta", model="vendors-2", delta={"text": "x"}),
        ],
    ),
    "a response": (
        "OpenAIResponses",
        [
            b"event: response.created\n" + data(type="response.created", response=_RESPONSE),
            b"event: x\n" + data(type="response.output_item.done", item=_LOOKALIKE, model="vendors-2"),
            b"event: response.completed\n" + data(type="response.completed", response=_RESPONSE),
        ],
    ),
}

WHOLE: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("OpenAIChat", {**chunk("a"), "end": _LOOKALIKE}),
    "embeddings": ("embeddings", {"object": "list", "data": [{"embedding": [0.5] * 9000}], "model": "vendors-1"}),
    "a message": ("AnthropicMessages", {**_MESSAGE, "content": [_LOOKALIKE]}),
    "a response": ("OpenAIResponses", {**_RESPONSE, "output": [_LOOKALIKE]}),
    "a long response": ("OpenAIResponses", {**_RESPONSE, "output": [{"text": "x\n\\" * 50_000, **_LOOKALIKE}]}),
}


@pytest.mark.parametrize(("api", "events"), STREAMS.values(), ids=STREAMS.keys())
def test_each_event_has_the_clients_name_of_the_model_as_soon_as_it_came(
    lua: LuaWorld, api: str, events: list[bytes]
) -> None:
    got = lua.answer(Reply([*events, b""], headers=_SSE), decision={"api": api, "model": "theirs"})
    assert list(got.chunks) == [*named(events), b""]


@pytest.mark.parametrize(("api", "body"), WHOLE.values(), ids=WHOLE.keys())
@pytest.mark.parametrize("size", [10**9, 1000], ids=["at once", "in pieces"])
def test_a_whole_answer_has_the_clients_name_of_the_model(
    lua: LuaWorld, api: str, body: dict[str, Any], size: int
) -> None:
    text = json.dumps(body).encode()
    chunks = [text[at : at + size] for at in range(0, len(text), size)]
    got = lua.answer(Reply([*chunks], headers=_JSON), decision={"api": api, "model": "theirs"})
    assert got.body == named([text])[0]
    assert got.headers.get("content-length") in (None, str(len(got.body)))


@pytest.mark.parametrize(("api", "events"), STREAMS.values(), ids=STREAMS.keys())
def test_the_vendors_name_stays_where_that_is_wanted_or_is_the_same(
    lua: LuaWorld, api: str, events: list[bytes]
) -> None:
    keeps = lua.answer(
        Reply([*events, b""], headers=_SSE), decision={"api": api, "model": "theirs"}, words=["keeps_model"]
    )
    same = lua.answer(Reply([*events, b""], headers=_SSE), decision={"api": api, "model": "vendors-1"})
    unknown = lua.answer(Reply([*events, b""], headers=_SSE), decision={"api": api})
    assert list(keeps.chunks) == list(same.chunks) == list(unknown.chunks) == [*events, b""]


def test_the_name_is_written_as_json(lua: LuaWorld) -> None:
    name = 'a"\\\n/é'
    got = lua.answer(Reply([json.dumps(chunk("a")).encode()], headers=_JSON), decision={"model": name})
    assert json.loads(got.body) == {**chunk("a"), "model": name}


_USAGE = data(id="c", model="m", choices=[], usage={"prompt_tokens": 9, "completion_tokens": 1})
_DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("events", "kept"),
    [
        ([data(**chunk("a")), _USAGE, _DONE], [0, 2]),
        ([data(**chunk("a"), usage=None), _USAGE, _DONE], [0, 2]),
        ([data(**chunk("a"), usage={"prompt_tokens": 9}), _DONE], [0, 1]),
        ([data(choices=[], prompt_filter_results=[], usage=None), _DONE], [0, 1]),
        ([b"id: 7\nevent: x\n" + _USAGE, _DONE], [1]),
        ([data(choices=[{"usage": {"prompt_tokens": 9}}]), _DONE], [0, 1]),
        ([_USAGE.replace(b"\n", b"\r\n"), _DONE], [1]),
        ([data(usage={"prompt_tokens": 9}), _DONE], [1]),
        ([data(choices=None, usage={"prompt_tokens": 9}, error=None, citations=[]), _DONE], [1]),
        ([data(choices=[], usage={"prompt_tokens": 9}, timings={"cache_n": 3}, object="x", code=1), _DONE], [1]),
        ([data(choices=[], usage={"prompt_tokens": 9}, error={"message": "busy", "code": 502}), _DONE], [0, 1]),
        ([data(usage={"prompt_tokens": 9}, error="busy"), _DONE], [0, 1]),
        ([data(usage={"prompt_tokens": 9}, object="error", message="busy"), _DONE], [0, 1]),
        ([data(choices=[], usage={"prompt_tokens": 9}, x_groq={"error": "busy"}), _DONE], [0, 1]),
        ([data(choices=[], usage={"prompt_tokens": 9}, citations=["https://a.example"]), _DONE], [0, 1]),
        ([data(choices=[], usage={"prompt_tokens": 9}, search={"results": 1}), _DONE], [0, 1]),
    ],
)
@pytest.mark.parametrize("size", [None, 10**9, 1, 13])
def test_a_usage_that_was_not_asked_for_is_kept_from_the_client_but_noted(
    lua: LuaWorld, events: list[bytes], kept: list[int], size: int | None
) -> None:
    sent = b"".join(events)
    chunks = events if size is None else [sent[at : at + size] for at in range(0, len(sent), size)]
    got = lua.answer(Reply([*chunks, b""], headers=_SSE), decision={"hide_usage": True})
    blank = got.body.replace(b"\r\n", b"\n").replace(b"\n\n\n", b"\n\n").lstrip(b"\n")
    if size not in (1, 13) or not events[0].startswith(b"id"):  # of such an event the client has had the beginning
        assert blank == b"".join(events[number] for number in kept)
    else:
        assert got.body == sent
    assert (got.usage or {}).get("prompt") == (9 if b"prompt_tokens" in sent else None)


def test_a_usage_over_several_data_lines_or_without_its_end_breaks_nothing(lua: LuaWorld) -> None:
    lines = b'data: {"choices": [],\ndata: "usage": {"prompt_tokens": 9}}\n\n'
    for events in ([lines, _DONE], [lines[:30]], [b'data: {"usage": {"prompt_tokens": 9'], [b'data: {"usage": {}\n']):
        got = lua.answer(Reply([*events, b""], headers=_SSE), decision={"hide_usage": True, "model": "m"})
        assert got.body == b"".join(events)


def test_comments_pings_and_what_nobody_knows_pass_as_they_come(lua: LuaWorld) -> None:
    chunks = [
        b": OPENROUTER PROCESSING\n",
        b"\n",
        b"event: ping\n",
        b'data: {"type": "ping"}\n\n',
        b"retry: 3\n\n",
        b"",
    ]
    passed: list[int] = []
    decision = {"api": "AnthropicMessages", "model": "m"}
    got = lua.answer(Reply(chunks, headers=_SSE), decision=decision, passed=passed.append)
    assert list(got.chunks) == chunks
    assert passed == [1, 2, 3, 4, 5]


def test_a_line_without_an_end_is_not_held_for_ever(lua: LuaWorld) -> None:
    chunks = [b"data: {", *[b"x" * 100_000] * 30, b"\n\n", data(**chunk("a")), b""]
    got = lua.answer(Reply(chunks, headers=_SSE), decision={"model": "theirs"})
    assert got.body == b"".join(chunks).replace(b"vendors-1", b"theirs")
    assert sum(map(len, got.chunks[:20])) > 0


_IMAGE = "x" * 1_500_000
_COUNTED = {"input_tokens": 9, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 4}}
_LONG: dict[str, tuple[str, bytes]] = {
    "a response": (
        "OpenAIResponses",
        data(
            type="response.completed",
            response={**_RESPONSE, "output": [{"result": _IMAGE, **_LOOKALIKE}], "usage": _COUNTED, "user": None},
            sequence_number=3,
        ),
    ),
    "a response whose model comes late": (
        "OpenAIResponses",
        data(response={"output": [{"result": _IMAGE}], "model": "vendors-1", "usage": _COUNTED}),
    ),
    "an item": ("OpenAIResponses", data(item={"result": _IMAGE, "usage": {"input_tokens": 7}, "model": "vendors-2"})),
    "chat": ("OpenAIChat", data(**chunk(_IMAGE), usage={"prompt_tokens": 9})),
    "chat with its usage first": ("OpenAIChat", data(usage={"prompt_tokens": 9}, **chunk(_IMAGE))),
}


@pytest.mark.parametrize(("api", "line"), _LONG.values(), ids=_LONG.keys())
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_that_is_too_long_to_be_held_is_read_at_both_ends(
    lua: LuaWorld, api: str, line: bytes, end: str
) -> None:
    line = line.replace(b"\n", end.encode())
    sent = line + (data(**chunk("b")) if api == "OpenAIChat" else b"")
    chunks = [sent[at : at + 50_000] for at in range(0, len(sent), 50_000)]
    got = lua.answer(Reply([*chunks, b""], headers=_SSE), decision={"api": api, "model": "theirs", "hide_usage": True})
    assert got.body == sent.replace(b"vendors-1", b"theirs")
    assert (got.usage or {}).get("prompt") == (None if b"item" in line else 9)
    assert max(map(len, got.chunks)) < 1_100_000


@pytest.mark.parametrize("size", [10**9, 50_000])
def test_what_follows_a_long_line_in_the_same_piece_is_treated_as_ever(lua: LuaWorld, size: int) -> None:
    events = [data(**chunk("x" * 3_000_000)), _USAGE, data(**chunk("a")), data(error={"message": "busy"}), _DONE]
    sent = b"".join(events)
    chunks = [sent[at : at + size] for at in range(0, len(sent), size)]
    got = lua.answer(Reply([*chunks, b""], headers=_SSE), decision={"model": "theirs", "hide_usage": True})
    assert got.body == b"".join(named([events[0], *events[2:]]))
    assert got.usage == {"prompt": 9, "output": 1}
    assert got.metadata[TRAIL_METADATA][1][TRAIL_MESSAGE] == "busy"


def test_an_event_that_is_no_json_changes_nothing_for_the_next_ones(lua: LuaWorld) -> None:
    events = [b'data: {"model":"vendors-1","choices":[{\n\n', data(**chunk("a")), data(**chunk("b"))]
    events[1:] = [each.replace(b'{"id": "c", "model": ', b'{"model":') for each in events[1:]]
    got = lua.answer(Reply([*events, b""], headers=_SSE), decision={"model": "theirs"})
    assert list(got.chunks) == [events[0], *named(events[1:]), b""]


def test_of_a_member_that_comes_twice_the_last_counts(lua: LuaWorld) -> None:
    event = b'data: {"model":"a","model":"vendors-1","choices":[]}\n\n'
    for chunks in ([event, event, b""], [event + event, b""]):
        got = lua.answer(Reply(chunks, headers=_SSE), decision={"model": "theirs"})
        assert got.body == event.replace(b"vendors-1", b"theirs") * 2


@pytest.mark.parametrize("size", [10**9, 5000], ids=["at once", "in pieces"])
@pytest.mark.parametrize("long", [50, 90_000])
def test_the_usage_of_a_whole_answer_is_its_own(lua: LuaWorld, size: int, long: int) -> None:
    nested = {"usage": {"prompt_tokens": 7}, "model": "vendors-2"}
    choices = [{"message": {"content": "x" * long, "tool": nested}}]
    for body in (
        {"model": "vendors-1", "usage": {"prompt_tokens": 9}, "choices": choices},
        {"model": "vendors-1", "choices": choices, "usage": {"prompt_tokens": 9}},
        {"model": "vendors-1", "choices": choices, "usage": {"prompt_tokens": 9}, "end": nested},
    ):
        text = json.dumps(body).encode()
        chunks = [text[at : at + size] for at in range(0, len(text), size)]
        got = lua.answer(Reply([*chunks], headers=_JSON), decision={"model": "theirs"})
        assert got.usage == {"prompt": 9}
        assert got.body == named([text])[0]


@pytest.mark.parametrize("status", ["500", "400"])
def test_an_error_in_an_encoding_is_never_shown(lua: LuaWorld, status: str) -> None:
    """Nobody can look for keys in it."""
    sent = gzip.compress(json.dumps({"error": {"message": "busy"}}).encode())
    got = lua.answer(Reply([sent], status, headers={**_JSON, "content-encoding": "gzip"}))
    assert "content-encoding" not in got.headers
    error = json.loads(got.body)["error"]
    assert error["message"] == f"The provider answered with an error. (alpha {status})"


@pytest.mark.parametrize(
    ("api", "path", "chunks", "headers", "id_"),
    [
        ("OpenAIResponses", "/v1/responses", [json.dumps(_RESPONSE).encode()], _JSON, "resp_1"),
        ("OpenAIResponses", "/v1/responses", [*STREAMS["a response"][1], b""], _SSE, "resp_1"),
        ("OpenAIResponses", "/v1/responses/input_tokens", [b'{"object":"response.input_tokens"}'], _JSON, None),
        ("files", "/v1/files", [b'{"object":"file", "id":', b'"file-1","bytes":3}', b""], _JSON, "file-1"),
        (
            "batches",
            "/v1/batches",
            [b'{"id":"batch_1"}'],
            {"content-type": "application/json; charset=utf-8"},
            "batch_1",
        ),
        ("files", "/v1/files", [b'{"object":"list","data":[{"id":"file-1"}]}'], _JSON, None),
        ("files", "/v1/files/file-1/content", [b'{"id":"file-2"}'], {"content-type": "application/octet-stream"}, None),
        ("OpenAIChat", "/v1/chat/completions", [json.dumps(chunk("a")).encode()], _JSON, None),
    ],
)
def test_the_id_of_what_an_answer_made_is_noted(
    lua: LuaWorld, api: str, path: str, chunks: list[bytes], headers: dict[str, str], id_: str | None
) -> None:
    got = lua.answer(Reply(chunks, headers=headers), decision={"api": api}, path=path)
    assert got.metadata.get(OBJECT_METADATA, {}).get(OBJECT_ID) == id_
    assert got.body == b"".join(chunks)


@pytest.mark.parametrize(
    ("api", "path", "body", "ids"),
    [
        ("batches", "/v1/batches/b", {"id": "b", "output_file_id": "f1", "error_file_id": None}, ["f1"]),
        ("uploads", "/v1/uploads/u/complete", {"id": "u", "pad": "x" * 9000, "file": {"id": "f1"}}, ["f1"]),
        ("threads", "/v1/threads/runs", {"id": "run_1", "thread_id": "t1", "metadata": {"file": "x"}}, ["t1"]),
        ("fine_tuning", "/v1/fine_tuning/jobs/j", {"id": "j", "result_files": ["f1", "f2", 3]}, ["f1", "f2"]),
        (
            "OpenAIResponses",
            "/v1/responses",
            {"object": "response", "id": "r", "output": [{"id": "rs_1"}, {"container_id": "c_1", "id": "ci_1"}, {}]},
            ["rs_1", "ci_1", "c_1"],
        ),
        ("batches", "/v1/batches/b", {"id": "b", "result_files": [f"f{number}" for number in range(99)]}, 64),
    ],
)
def test_what_was_made_with_an_object_is_noted_as_well(
    lua: LuaWorld, api: str, path: str, body: dict[str, Any], ids: list[str] | int
) -> None:
    got = lua.answer(Reply([json.dumps(body).encode()], headers=_JSON), decision={"api": api}, path=path)
    found = got.metadata[OBJECT_METADATA][OBJECT_IDS]
    assert (len(found) if isinstance(ids, int) else [*found.values()]) == ids


def test_the_id_of_a_stream_is_noted_with_its_first_event(lua: LuaWorld) -> None:
    cut_off = [STREAMS["a response"][1][0]]
    got = lua.answer(Reply([*cut_off, b""], headers=_SSE), decision={"api": "OpenAIResponses"})
    assert got.metadata[OBJECT_METADATA] == {OBJECT_ID: "resp_1"}


_PARTS = [
    *(
        "data: ",
        "event: error",
        "\n",
        "\r\n",
        "\n\n",
        "{",
        "}",
        "[",
        "]",
        '"',
        ":",
        ",",
        "\\",
        " ",
        "7",
        "-1",
        "null",
        "x",
    ),
    *('"usage":', '"model":', '"choices":', '"response":', '"message":', '"error":', '"id":', '"object":', '"type":'),
    *('"usage":{"prompt_tokens":9,"cached_tokens":5}', '"model":"m"', '"choices":[]', '"x_groq":{', '"timings":{'),
    *('"prompt_tokens_details":', '"cached_tokens":', '"message_start"', "data: [DONE]", '{"response":{"id" "x"},'),
]


@given(
    parts=st.lists(st.sampled_from(_PARTS), max_size=30),
    cuts=st.lists(st.integers(0, 300), max_size=5),
    api=st.sampled_from(["OpenAIChat", "OpenAIResponses", "AnthropicMessages", "embeddings", "ocr", "files"]),
    kind=st.sampled_from([_SSE, _JSON]),
    decision=st.fixed_dictionaries({}, optional={"model": st.just("theirs"), "hide_usage": st.just(True)}),
)
def test_no_text_breaks_the_program_and_what_it_does_not_know_stays(
    parts: list[str], cuts: list[int], api: str, kind: dict[str, str], decision: dict[str, Any]
) -> None:
    sent = "".join(parts).encode()
    stops = [0, *sorted({min(cut, len(sent)) for cut in cuts}), len(sent)]
    chunks = [sent[start:stop] for start, stop in pairwise(stops)]
    got = _LUA.answer(Reply([*chunks, b""], headers=kind), decision={"api": api, **decision})
    if not decision and api in ("AnthropicMessages", "files"):
        assert got.body == sent
    if not decision:
        assert len(got.body) >= len(sent) - sent.count(b"null") * 4
