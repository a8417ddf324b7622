"""Where the parts of a prompt stand, for any number of messages and any way to write them."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.dialects import anthropic_messages, openai_chat, openai_responses
from limpet_extproc.dialects.port import PromptLayout
from limpet_extproc.dialects.prompt_layout import MOST_KEPT, kept_positions

SEPARATORS = [(",", ":"), (", ", ": ")]
_MODULES = {
    "chat": (openai_chat, "messages"),
    "messages": (anthropic_messages, "messages"),
    "responses": (openai_responses, "input"),
}
_READ = pytest.mark.parametrize("name", _MODULES)


def _layouts(name: str, body: bytes) -> tuple[PromptLayout, PromptLayout]:
    module, _ = _MODULES[name]
    plain, carefully = module.parse_plain(body), module.parse_carefully(body)
    assert plain is not None
    assert plain.layout is not None
    return plain.layout, carefully.layout


def _written(body: bytes, layout: PromptLayout) -> list[Any]:
    """Each message after the opening ones."""
    begin, found = layout.opened, []
    for end in layout.ends:
        found.append(json.loads(body[begin:end].lstrip(b", \n")))
        begin = end
    return found


def _turns(count: int) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[at % 2], "content": f"é {at} " * (at % 3)} for at in range(count)]


@_READ
@pytest.mark.parametrize("separators", SEPARATORS, ids=["compact", "spaced"])
@pytest.mark.parametrize("count", [1, 2, 31, 62])
def test_each_message_ends_where_it_ends(name: str, separators: tuple[str, str], count: int) -> None:
    turns = _turns(count)
    body = json.dumps({"model": "m", _MODULES[name][1]: turns}, separators=separators, ensure_ascii=False).encode()
    layout, carefully = _layouts(name, body)
    assert layout == carefully
    assert layout.count == count + 2
    assert _written(body, layout) == turns


@_READ
def test_messages_may_stand_apart_from_each_other(name: str) -> None:
    turns = _turns(5)
    written = [json.dumps(turn).encode() for turn in turns]
    body = b'{"model":"m","%s":[%s]}' % (
        _MODULES[name][1].encode(),
        b" ,\n\n".join([b",   ".join(written[:3]), *written[3:]]),
    )
    layout, carefully = _layouts(name, body)
    assert layout == carefully
    begins = [layout.start, *(end + body[end:].index(b"{") for end in layout.ends[:-1])]
    assert [json.loads(body[begin:end]) for begin, end in zip(begins, layout.ends, strict=True)] == turns


@_READ
@pytest.mark.parametrize("count", [63, 127, 128, 129, 500])
def test_of_many_messages_the_first_and_the_last_ones_are_kept(name: str, count: int) -> None:
    body = json.dumps({_MODULES[name][1]: _turns(count), "model": "m", "limpet_other": [1]}).encode()
    layout, carefully = _layouts(name, body)
    assert layout == carefully
    assert layout.count == count + 2
    assert len(layout.ends) <= MOST_KEPT - 2
    ends = [end for end in range(len(body)) if body.startswith(b"}, {", end) or body.startswith(b"}]", end)][:count]
    assert [end - 1 for end in layout.ends] == [ends[at - 2] for at in kept_positions(count + 2)[2:]]


def test_in_a_body_of_nothing_but_commas_the_first_messages_are_all(make_dense: bytes) -> None:
    layout = openai_responses.parse_carefully(make_dense).layout
    assert layout is not None
    assert layout.count == 130


@pytest.fixture
def make_dense() -> bytes:
    return b'{"model":"m","input":[{"role":"user","content":"x"}%s]}' % (b",{}" * 1_000_001)


@pytest.mark.parametrize("leading", [0, 1, 2])
@pytest.mark.parametrize("role", ["system", "developer"])
def test_leading_system_messages_are_the_system_prompt(leading: int, role: str) -> None:
    messages = [{"role": role, "content": f"be {at}"} for at in range(leading)]
    turns = [{"role": "user", "content": "x"}, {"role": role, "content": "later"}]
    body = json.dumps({"model": "m", "messages": [*messages, *turns]}).encode()
    layout, _ = _layouts("chat", body)
    assert layout.count == 4
    assert (layout.opened > layout.start) == (leading > 0)
    assert json.loads(b"[" + body[layout.start : layout.opened] + b"]") == messages
    assert _written(body, layout) == turns


@pytest.mark.parametrize("role", ["system", "developer", "user"])
@pytest.mark.parametrize("name", ["chat", "responses"])
def test_a_system_message_may_name_its_role_last(name: str, role: str) -> None:
    opening, turn = {"content": [{"role": "user"}], "role": role}, {"content": "x", "role": "user"}
    body = json.dumps({"model": "m", _MODULES[name][1]: [opening, turn]}).encode()
    layout, carefully = _layouts(name, body)
    assert layout == carefully
    leads = role != "user"
    assert layout.count == 4 - leads
    assert _written(body, layout) == [opening, turn][leads:]


@pytest.mark.parametrize(("name", "field"), [("messages", "system"), ("responses", "instructions")])
@pytest.mark.parametrize("value", ["be brief", None])
def test_tools_and_a_system_prompt_of_its_own_stand_where_they_are(name: str, field: str, value: str | None) -> None:
    tools = [{"name": "t"}] if value else None
    fields = {field: value, _MODULES[name][1]: _turns(1), "tools": tools}
    body = json.dumps({"model": "m", **fields}).encode()
    layout, carefully = _layouts(name, body)
    assert layout == carefully
    for span, written in ((layout.tools, tools), (layout.system, value)):
        assert body[span.offset :][: span.length] == (json.dumps(written).encode() if written else b"")


def test_a_text_in_place_of_items_is_one_message() -> None:
    layout = openai_responses.parse_carefully(b'{"model":"m","input":"hello"}').layout
    assert layout is not None
    assert (layout.start, layout.ends, layout.count) == (21, (28,), 3)


def test_nothing_to_read_is_no_message() -> None:
    layout = openai_responses.parse_carefully(b'{"model":"m","previous_response_id":"r"}').layout
    assert layout is not None
    assert (layout.ends, layout.count) == ((), 2)


@given(st.integers(0, 5000), st.integers(0, 30))
def test_a_conversation_that_grows_keeps_its_last_boundary_and_some_others(count: int, more: int) -> None:
    before, after = kept_positions(count), kept_positions(count + more)
    for kept in (before, after):
        assert len(kept) <= MOST_KEPT
        assert all(one < other for one, other in pairwise(kept))
    shared = set(before) & set(after)
    assert not count or count - 1 in shared
    assert set(range(min(count, 16))) <= shared
    assert _gaps(sorted(shared)) <= max(2, (count + more) // 4)


def _gaps(kept: Sequence[int]) -> int:
    return max((after - before for before, after in pairwise(kept)), default=0)
