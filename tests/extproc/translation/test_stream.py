"""What the OpenAI client gets of a stream, by value, however it is cut."""

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from limpet_extproc.translation.sse import MAX_EVENT_BYTES
from limpet_extproc.translation.stream import StreamTranslation

START: Final[dict[str, Any]] = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": [],
        "stop_reason": None,
        "usage": {
            "input_tokens": 5,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 20,
            "output_tokens": 1,
        },
    },
}
STOP: Final = {"type": "message_stop"}


def begin(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **what: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": what}


def end(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ended(stop_reason: str, **usage: int) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": {"output_tokens": 9, **usage}}


def sse(*events: dict[str, Any], newline: str = "\n") -> bytes:
    return "".join(f"event: {e['type']}{newline}data: {json.dumps(e)}{newline}{newline}" for e in events).encode()


def fed(pieces: Iterable[bytes], *, usage_asked: bool = False) -> bytes:
    translation = StreamTranslation(17, usage_asked=usage_asked)
    return b"".join(translation.feed(piece) for piece in pieces) + translation.end()


def read(out: bytes) -> tuple[list[dict[str, Any]], bool]:
    """Chunks, and whether the stream is complete."""
    lines = [line[6:] for line in out.decode().split("\n\n") if line.startswith("data: ")]
    done = bool(lines) and lines[-1] == "[DONE]"
    return [json.loads(line) for line in (lines[:-1] if done else lines)], done


TEXT: Final = (
    begin(0, type="text", text=""),
    {"type": "ping"},
    delta(0, type="text_delta", text="He"),
    delta(0, type="text_delta", text="llo ü"),
    end(0),
    ended("end_turn"),
    STOP,
)
CALLS: Final = (
    begin(0, type="text", text="So."),
    end(0),
    begin(1, type="tool_use", id="toolu_1", name="f", input={}),
    delta(1, type="input_json_delta", partial_json=""),
    delta(1, type="input_json_delta", partial_json='{"a": '),
    delta(1, type="input_json_delta", partial_json="1.0}"),
    end(1),
    begin(2, type="tool_use", id="toolu_2", name="g", input={}),
    delta(2, type="input_json_delta", partial_json=""),
    end(2),
    begin(3, type="tool_use", id="toolu_3", name="h", input={"whole": 1}),
    end(3),
    ended("tool_use"),
    STOP,
)
THINKING: Final = (
    begin(0, type="thinking", thinking="", signature=""),
    delta(0, type="thinking_delta", thinking="h"),
    delta(0, type="thinking_delta", thinking="m"),
    delta(0, type="signature_delta", signature="s"),
    end(0),
    begin(1, type="redacted_thinking", data="x"),
    end(1),
    begin(2, type="text", text=""),
    delta(2, type="text_delta", text="Hi"),
    end(2),
    ended("max_tokens"),
    STOP,
)


def call(index: int, arguments: str, **begins: Any) -> dict[str, Any]:
    name = {"name": begins.pop("name")} if begins else {}
    type_ = {"type": "function"} if begins else {}
    return {"tool_calls": [{"index": index, **begins, **type_, "function": {**name, "arguments": arguments}}]}


CASES: Final[dict[str, tuple[tuple[dict[str, Any], ...], list[dict[str, Any]], str]]] = {
    "text": (TEXT, [{"content": "He"}, {"content": "llo ü"}], "stop"),
    "calls": (
        CALLS,
        [
            {"content": "So."},
            call(0, "", id="toolu_1", name="f"),
            call(0, '{"a": '),
            call(0, "1.0}"),
            call(1, "", id="toolu_2", name="g"),
            call(1, "{}"),
            call(2, '{"whole": 1}', id="toolu_3", name="h"),
        ],
        "tool_calls",
    ),
    "thinking": (
        THINKING,
        [
            {"reasoning_content": "h"},
            {"reasoning_content": "m"},
            {"thinking_blocks": [{"index": 0, "type": "thinking", "thinking": "hm", "signature": "s"}]},
            {"thinking_blocks": [{"index": 1, "type": "redacted_thinking", "data": "x"}]},
            {"content": "Hi"},
        ],
        "length",
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_what_the_client_gets(name: str, newline: str) -> None:
    events, deltas, finish = CASES[name]
    chunks, done = read(fed([sse(START, *events, newline=newline)]))
    assert done
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": "", "refusal": None},
        *deltas,
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(deltas) + 1) + [finish]
    for chunk in chunks:
        ChatCompletionChunk.model_validate(chunk)
        assert (chunk["id"], chunk["created"], chunk["model"]) == ("msg_1", 17, "claude-x")


def test_usage_comes_last_where_it_was_asked_for() -> None:
    chunks, done = read(fed([sse(START, *TEXT)], usage_asked=True))
    assert done
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {
        "prompt_tokens": 125,
        "completion_tokens": 9,
        "total_tokens": 134,
        "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 20},
    }
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


def test_a_later_event_corrects_the_usage() -> None:
    events = (*TEXT[:-2], ended("end_turn", input_tokens=6, cache_read_input_tokens=0), STOP)
    chunks, _ = read(fed([sse(START, *events)], usage_asked=True))
    assert chunks[-1]["usage"]["prompt_tokens"] == 26


def test_a_ping_keeps_the_connection_open() -> None:
    assert b": ping\n\n" in fed([sse(START, *TEXT)])


@pytest.mark.parametrize("events", [TEXT, CALLS, THINKING], ids=["text", "calls", "thinking"])
def test_a_stream_that_ends_in_the_middle_is_an_error(events: tuple[dict[str, Any], ...]) -> None:
    whole = sse(START, *events)
    last = whole.rindex(b"event: message_stop")
    for cut in range(last):
        chunks, done = read(fed([whole[:cut]]))
        assert not done, cut
        assert chunks[-1]["error"]["code"] == "api_error", cut


def test_an_error_in_the_middle_ends_the_stream() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    chunks, done = read(fed([sse(START, *TEXT[:3], error, *TEXT[3:])]))
    assert not done
    assert [chunk.get("error") for chunk in chunks[:-1]] == [None] * 2
    assert chunks[-1] == {
        "error": {"message": "Overloaded", "type": "server_error", "param": None, "code": "overloaded_error"}
    }


def test_events_and_blocks_that_are_newer_are_passed_over() -> None:
    odd = ({"type": "something_new", "x": 1}, begin(9, type="server_tool_use", id="s", name="web", input={}), end(9))
    assert fed([sse(START, *odd, *TEXT)]) == fed([sse(START, *TEXT)])


def raw(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def half(escape: str) -> bytes:
    return sse(delta(0, type="text_delta", text="?")).replace(b"?", escape.encode())


ODD: Final[dict[str, bytes]] = {
    "event of a number": raw("5"),
    "event of a list": raw('[{"delta": {}}]'),
    "event of words": raw("keep-alive"),
    "empty event": b"data:\n\ndata: \n\n",
    "the end of OpenAI's streams": raw("[DONE]"),
    "text for a delta": sse({"type": "zz", "delta": "x"}),
    "number for a text": sse({"type": "zz", "delta": {"type": "text_delta", "text": 5}}),
    "text for a message": sse({"type": "zz", "message": "x"}),
    "index null": sse({"type": "zz", "index": None}),
    "text for an error": sse({"type": "zz", "error": "x"}),
    "usage null": sse({"type": "zz", "usage": None}),
    "type of another kind": sse({"type": 5}),
    "another kind of delta": sse(delta(0, type="compaction_delta", text="hidden")),
    "object for a text": sse(delta(0, type="text_delta", text={"x": 1})),
    "citation": sse(delta(0, type="citations_delta", citation={"text": "hidden"})),
    "delta null": sse({"type": "message_delta", "delta": None, "usage": None}),
    "block null": sse({"type": "content_block_start", "index": 7, "content_block": None}),
    "block of a newer type": sse(begin(7, type="new", text={"a": 1}, id=5, data=[])),
    "text null": sse(begin(7, type="text", text=None), end(7)),
    "a second start": sse(START),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_event_changes_nothing(name: str) -> None:
    assert fed([sse(START), ODD[name], sse(*TEXT)], usage_asked=True) == fed([sse(START, *TEXT)], usage_asked=True)


@pytest.mark.parametrize(
    "odd",
    [{"usage": None}, {"usage": {"input_tokens": "5"}}, {"content": None}, {"model": None}, {"id": 5}],
    ids=["usage null", "usage of text", "content null", "model null", "id of a number"],
)
def test_an_odd_start_is_one(odd: dict[str, Any]) -> None:
    start = {"type": "message_start", "message": {**START["message"], **odd}}
    chunks, done = read(fed([sse(start, *TEXT)], usage_asked=True))
    assert done
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"]) == "Hello ü"


WRITTEN_OTHERWISE: Final[dict[str, tuple[bytes, str]]] = {
    "data over two lines": (
        b'data: {"type":"content_block_delta","index":0,\ndata: "delta":{"type":"text_delta","text":"a"}}\n\n',
        "a",
    ),
    "no empty lines": (half("a").rstrip() + b"\n" + half("b"), "ab"),
    "a pair over two deltas": (half("a\\ud83d") + half("\\ude00b"), "a😀b"),
    "half a pair": (half("a\\ud83d") + half("b"), "a\ufffdb"),
    "second half of a pair": (half("\\ude00"), "\ufffd"),
    "count of a fraction": (sse({"type": "ping", "usage": {"input_tokens": 5.0}}) + half("a"), "a"),
    "without a type": (sse(delta(0, text="a")), "a"),
}


@pytest.mark.parametrize("name", WRITTEN_OTHERWISE)
def test_what_is_written_otherwise_is_read(name: str) -> None:
    written, text = WRITTEN_OTHERWISE[name]
    chunks, done = read(fed([b"\xef\xbb\xbf", sse(START, begin(0, type="text", text="")), written, sse(*TEXT[-2:])]))
    assert done
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == text


def test_the_end_of_openais_streams_is_one_after_a_reason() -> None:
    _, done = read(fed([sse(START, *TEXT[:-1]), raw("[DONE]")]))
    assert done


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
@pytest.mark.parametrize("kept", [0, 1], ids=["no line's end", "no empty line"])
def test_the_last_event_is_one_without_an_end(newline: str, kept: int) -> None:
    whole = sse(START, *TEXT, newline=newline)
    cut = whole[: -len(newline) * (2 - kept)]
    assert fed([cut]) == fed([whole])


def test_a_call_without_an_id_has_one() -> None:
    chunks, _ = read(fed([sse(START, begin(0, type="tool_use", id=None, name="f"), end(0), *CALLS[-2:])]))
    assert chunks[1]["choices"][0]["delta"]["tool_calls"][0]["id"] == "call_0"


@pytest.mark.parametrize("error", ["boom", {"message": "boom"}, {"message": "boom", "type": None}])
def test_an_odd_error_is_one(error: Any) -> None:
    chunks, done = read(fed([sse(START, {"type": "error", "error": error})]))
    assert not done
    assert chunks[-1]["error"] == {"message": "boom", "type": "server_error", "param": None, "code": "api_error"}


def test_what_is_no_event_is_an_error() -> None:
    chunks, done = read(fed([sse(START), b"data: {\n\n", sse(*TEXT)]))
    assert not done
    assert "error" in chunks[-1]


def test_an_endless_event_is_an_error() -> None:
    translation = StreamTranslation(17, usage_asked=False)
    piece = b"x" * (MAX_EVENT_BYTES // 4 + 1)
    out = b"".join(translation.feed(each) for each in (b"data: ", piece, piece, piece, piece))
    assert b'"error"' in out
    assert translation.feed(piece) + translation.end() == b""


@given(
    events=st.sampled_from([TEXT, CALLS, THINKING]),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    cuts=st.lists(st.integers(0, 2000)),
    usage_asked=st.booleans(),
)
def test_pieces_give_what_the_whole_gives(
    events: tuple[dict[str, Any], ...], newline: str, cuts: list[int], usage_asked: bool
) -> None:
    whole = sse(START, *events, newline=newline)
    places = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    pieces = [whole[a:b] for a, b in pairwise(places)]
    assert fed(pieces, usage_asked=usage_asked) == fed([whole], usage_asked=usage_asked)


@pytest.mark.parametrize("events", [TEXT, CALLS, THINKING], ids=["text", "calls", "thinking"])
def test_byte_by_byte(events: tuple[dict[str, Any], ...]) -> None:
    whole = sse(START, *events)
    assert fed(whole[i : i + 1] for i in range(len(whole))) == fed([whole])
