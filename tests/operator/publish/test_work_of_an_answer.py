"""However hostile an answer is, the work on it grows with its length and no faster: one thread serves many clients."""

from pathlib import Path

import pytest
from tests.operator.publish.lua_world import LuaWorld, Reply

_COUNTING = Path(__file__).with_name("counting_string.lua").read_text()
_PIECE = 16_384
_MOST_A_BYTE = 150
"""Bytes looked at for each of the answer; an ordinary one takes some five, an error all rules of causes."""

PATTERNS: dict[str, str] = {
    "an open list as model": 'data: {"model":[\n',
    "an open object as usage": 'data: {"usage":{\n',
    "an open usage in an open list": 'data: {"choices":[{"usage":{"a":[\n',
    "an open string as model": 'data: {"model":"\n',
    "an open error": 'data: {"error":{"message":[\n',
    "an open error in a choice": 'data: {"choices":[{"error":{\n',
    "an open response": 'data: {"type":"x","response":{"usage":{\n',
    "an open message": 'data: {"message":{"model":[\n',
    "blanks": 'data:      \n   {"usage"   :   {\n',
    "a usage": 'data: {"usage":{"prompt_tokens":1}}\n\n',
    "a usage in a choice": 'data: {"choices":[{"usage":{"prompt_tokens":1}}]}\n\n',
    "a model": 'data: {"model":"a","choices":[]}\n\n',
    "other members": 'data: {"model":"a","usage":{"a":{"a":1,"b":{"c":2}}}}\n\n',
    "events by name": "event: error\n\n",
    "comments": ": usage error\n",
    "line ends": "\r\n",
    "single returns": 'data: {"usage":{\r',
    "names without a value": '{"usage":',
    "members": '"usage":{"prompt_tokens":1},',
    "errors": '"error":{"message":',
    "empty errors": '"error":{"{":"","a":[]},',
    "names": '"usage""model""id""choices"',
    "brackets": "{[",
    "closed brackets": "]}",
    "quotes": '"',
    "backslashes": "\\",
    "escaped quotes": '\\"',
    "keys of vendors": "sk-1 sk-sk-sk- Bearer ",
}

BEFORE: dict[str, str] = {
    "": "",
    "a line": "data: {",
    "a line's usage": 'data: {"usage":{"a":',
    "a line's usage in a choice": 'data: {"choices":[{"usage":{"a":',
    "a line's response": 'data: {"response":{"model":"a","x":',
    "JSON": '{"choices":[],',
    "JSON's usage": '{"usage":{',
    "JSON's long name": '{"usage":{"' + "n" * 8000 + '":{',
    "a line's content": 'data: {"x":"' + "n" * 30_000 + '","model":"a"}\n',
}


def looked_at(text: str, api: str, size: int, status: str = "200", path: str = "/v1/chat/completions") -> int:
    lua = LuaWorld(before=_COUNTING)
    sent = text.encode()
    chunks = [sent[at : at + size] for at in range(0, len(sent), size)]
    kind = {"content-type": "application/json" if text[:1] in '{"[]\\' else "text/event-stream"}
    decision = {"api": api, "model": "theirs", "hide_usage": True}
    lua.answer(Reply([*chunks, b""], status, headers=kind), decision=decision, path=path)
    return int(lua.lua.globals()[b"looked_at"])


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS.keys())
@pytest.mark.parametrize("api", ["OpenAIChat", "OpenAIResponses"])
def test_a_hostile_answer_takes_work_by_its_length(pattern: str, api: str) -> None:
    for before in BEFORE.values():
        text = before + pattern * (65_536 // len(pattern))
        assert looked_at(text, api, _PIECE) < _MOST_A_BYTE * len(text), before[:40]


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS.keys())
def test_so_does_one_that_comes_in_small_pieces(pattern: str) -> None:
    for before in BEFORE.values():
        text = before + pattern * (20_000 // len(pattern))
        for path, api in (("/v1/chat/completions", "OpenAIChat"), ("/v1/files", "files")):
            assert looked_at(text, api, 7, path=path) < 2 * _MOST_A_BYTE * len(text), (before[:40], api)


@pytest.mark.parametrize("pattern", PATTERNS.values(), ids=PATTERNS.keys())
def test_so_does_an_error(pattern: str) -> None:
    for before in ("", "{", '{"error":{"message":"', '{"error":{"message":"x"},"x":"'):
        text = before + pattern * (4000 // len(pattern))
        assert looked_at(text, "OpenAIChat", 10**6, status="500") < _MOST_A_BYTE * len(text), before
