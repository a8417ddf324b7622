"""The chain of a prompt: equal beginnings have equal hashes, whatever else of a request changes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.decision.prefix import HASH_BYTES, Chain, changed_at, shared_boundaries
from limpet_extproc.dialects import anthropic_messages, openai_chat, openai_responses
from limpet_extproc.request.prefix import HEAD_LENGTHS, MOST_BYTES, chain_of
from limpet_extproc.request.size import ATTACHMENT_BYTES

SEED = b"seed"
MARK = {"type": "ephemeral"}

_MODULES = {"chat": openai_chat, "messages": anthropic_messages, "responses": openai_responses}


def chain(name: str, body: bytes, seed: bytes = SEED, *, attached: bool = False) -> Chain:
    """The same however it is read."""
    module = _MODULES[name]
    layout = module.parse_carefully(body).layout
    plain = module.parse_plain(body)
    assert plain is None or plain.layout == layout
    return chain_of(memoryview(body), layout, seed, attached=attached)


def chat(*contents: Any, **fields: Any) -> Chain:
    """Of messages with these contents, from the user on in turns."""
    messages = [{"role": ("user", "assistant")[at % 2], "content": each} for at, each in enumerate(contents)]
    return chain("chat", json.dumps({"model": "m", "messages": messages, **fields}).encode())


def messages(*contents: Any, **fields: Any) -> Chain:
    """The same by Messages."""
    turns = [{"role": ("user", "assistant")[at % 2], "content": each} for at, each in enumerate(contents)]
    return chain("messages", json.dumps({"model": "m", "messages": turns, **fields}).encode())


def text(words: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": words, **fields}]


def test_a_turn_begins_with_all_of_the_one_before() -> None:
    before, after = chat("a", tools=[{"x": 1}]), chat("a", "b", "c", tools=[{"x": 1}], temperature=1, user="u")
    assert after.hashes.startswith(before.hashes)
    assert len(after.hashes) == 5 * HASH_BYTES
    assert list(after.tokens) == sorted(after.tokens)


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        (chat("a", tools=[{"x": 1}]), chat("a", tools=[{"x": 2}]), "tools"),
        (chat("a", tools=[{"x": 1}]), chat("a"), "tools"),
        (messages("a", system="s"), messages("a", system="t"), "system"),
        (messages("a", "b", "c"), messages("a", "B", "c"), "message 2"),
        (messages("a", "b", "c"), messages("b", "c"), "message 1"),
        (chat("a"), chat("a", "b"), ""),
    ],
    ids=["tools", "no tools", "system", "edited", "window", "longer"],
)
def test_what_changes_has_a_name(one: Chain, other: Chain, name: str) -> None:
    assert changed_at(one.hashes, other.hashes) == name
    assert changed_at(other.hashes, one.hashes) == name


OTHER: dict[str, Any] = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
BREAKPOINT: dict[str, Any] = {"prompt_cache_breakpoint": {"mode": "explicit"}}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (text("a", **BREAKPOINT), text("a")),
        (text("a", **BREAKPOINT), "a"),
        ([BREAKPOINT | {"type": "text", "text": "a"}, OTHER], [*text("a"), OTHER]),
        (text("a", **BREAKPOINT, cache_control=MARK), text("a")),
        (text("a", cache_control=MARK, **BREAKPOINT), "a"),
        ([{"cache_control": MARK, **BREAKPOINT, "type": "text", "text": "a"}, OTHER], [*text("a"), OTHER]),
        ([*text("a"), *text("b", prompt_cache_breakpoint=None)], [*text("a"), *text("b")]),
    ],
    ids=["moved", "a text again", "first member", "before a mark", "after a mark", "both first", "null"],
)
def test_a_prompt_is_the_same_wherever_the_breakpoints_of_openai_stand(one: Any, other: Any) -> None:
    before, after = chat(one), chat(other, "b", text("c", **BREAKPOINT))
    assert shared_boundaries(before.hashes, after.hashes) == 3


def test_breakpoints_of_responses_are_passed_over_and_texts_that_look_like_them_are_not() -> None:
    def asked(words: str, *, indent: int | None = None, **fields: Any) -> Chain:
        part = {"type": "input_text", "text": words, **fields}
        items = [{"type": "message", "role": "user", "content": [part]}]
        return chain("responses", json.dumps({"model": "m", "input": items}, indent=indent).encode())

    assert asked("a", **BREAKPOINT) == asked("a")
    assert asked("a", **BREAKPOINT, indent=2).hashes != asked("b", **BREAKPOINT, indent=2).hashes
    quoted = [json.dumps({"prompt_cache_breakpoint": {"mode": mode}}) for mode in ("explicit", "implicit")]
    assert asked(quoted[0]).hashes != asked(quoted[1]).hashes


@pytest.mark.parametrize("name", ["chat", "messages"])
def test_other_white_space_makes_another_prompt_of_the_same_conversation(name: str) -> None:
    said = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    asked = {"model": "m", "messages": [*said, {"role": "user", "content": "c"}]}
    compact, indented = (json.dumps(asked, **style).encode() for style in ({"separators": (",", ":")}, {"indent": 2}))
    one, other = chain(name, compact), chain(name, indented)
    assert changed_at(one.hashes, other.hashes) == "message 1"
    module = _MODULES[name]
    assert module.parse_carefully(compact).fingerprint == module.parse_carefully(indented).fingerprint


def test_no_two_tenants_and_no_two_models_have_a_hash_in_common() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
    one, other = chain("chat", body, b"1"), chain("chat", body, b"2")
    assert not {one.hashes[at : at + HASH_BYTES] for at in range(0, 3 * HASH_BYTES, HASH_BYTES)} & {
        other.hashes[at : at + HASH_BYTES] for at in range(0, 3 * HASH_BYTES, HASH_BYTES)
    }


def test_marks_that_move_from_turn_to_turn_change_nothing() -> None:
    system = [{"type": "text", "text": "s", "cache_control": MARK}]
    first = messages(text("a", cache_control=MARK), system=system)
    as_text = messages("a", "b", text("c", cache_control=MARK), system=system)
    as_block = messages(text("a"), "b", text("c", cache_control=MARK), system=text("s"))
    long = messages(text("a"), text("b"), text("c", cache_control={**MARK, "ttl": "1h"}), system=system)
    for later in (as_text, as_block, long):
        assert later.hashes == as_text.hashes
        assert later.hashes.startswith(first.hashes)


def test_what_is_marked_is_not_taken_for_another_text() -> None:
    one = messages(text("a", cache_control=MARK))
    for other in ("b", [*text("a"), *text("a")], [*text("a"), {"type": "image"}], 'a"},{"type":"text","text":"a'):
        assert shared_boundaries(one.hashes, messages(other, text("z", cache_control=MARK)).hashes) == 2


def test_a_mark_is_known_to_end_a_head() -> None:
    long = "s" * 9000
    marked = messages("a", system=text(long, cache_control=MARK))
    assert [head.marked for head in marked.heads] == [False, False, False, True, False]
    found = [head for head in messages("a", system=text(long)).heads if head.marked]
    assert not found


def test_a_head_is_found_although_a_clock_stands_at_its_end() -> None:
    one = messages("a", system="s" * 20_000 + "12:00")
    other = messages("b", system="s" * 20_000 + "12:01")
    shared = {head.hash for head in one.heads} & {head.hash for head in other.heads}
    assert len(shared) == sum(length <= 20_000 for length in HEAD_LENGTHS)
    tokens = [head.tokens for head in one.heads]
    assert tokens == sorted(tokens)
    assert max(head.tokens for head in one.heads if head.hash in shared) * 3 > 20_000 * 2 / 3


def test_a_short_prompt_has_no_head() -> None:
    assert chat("a" * 4000).heads == ()


def test_an_attachment_counts_by_number() -> None:
    url = "data:image/png;base64," + "A" * 300_000
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": [{"image_url": url}]}]}).encode()
    found = chain("chat", body, attached=True)
    assert found.tokens[-1] <= (ATTACHMENT_BYTES + 200) / 3
    assert all(head.tokens <= found.tokens[-1] for head in found.heads)


def test_a_huge_body_has_none() -> None:
    body = b'{"model":"m","input":"%s"}' % (b"x" * MOST_BYTES)
    assert chain("responses", body).hashes == b""


_CONTENTS = st.one_of(
    st.text(max_size=20), st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=9)}))
)


@pytest.mark.parametrize("style", [{}, {"separators": (",", ":")}, {"indent": 2}, {"sort_keys": True}], ids=str)
@given(contents=st.lists(_CONTENTS, min_size=1, max_size=8), data=st.data())
def test_wherever_marks_stand_the_chain_is_that_of_the_same_prompt_with_others(
    style: dict[str, Any], contents: list[Any], data: st.DataObject
) -> None:
    def marked() -> bytes:
        turns: list[Any] = []
        for content in contents:
            blocks = [dict(block) for block in content] if isinstance(content, list) else content
            if isinstance(blocks, str) and blocks and data.draw(st.booleans()):
                blocks = text(blocks)
            if isinstance(blocks, list) and blocks and data.draw(st.booleans()):
                blocks[-1]["cache_control"] = MARK
            turns.append({"role": "user", "content": blocks})
        turns.append({"role": "user", "content": text("end", cache_control=MARK)})
        return json.dumps({"model": "m", "messages": turns}, **style).encode()

    assert chain("messages", marked()).hashes == chain("messages", marked()).hashes
