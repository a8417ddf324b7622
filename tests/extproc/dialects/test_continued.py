"""A turn that goes on from the one before is read as if nothing had been known of it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.apis import NOWHERE
from limpet_extproc.dialects.continued import gone_on, may_go_on
from limpet_extproc.dialects.port import BadRequestError, ParsedRequest
from limpet_extproc.dialects.prompt_layout import BEFORE_MESSAGES, MOST_ADDED, kept_positions, still_kept
from limpet_extproc.dialects.registry import BY_NAME

PROMPTS = {"OpenAIChat": "messages", "AnthropicMessages": "messages", "OpenAIResponses": "input"}
MARK = {"type": "ephemeral"}
CONTENTS = st.one_of(
    st.sampled_from(["", "a", "é", 'a "quoted" \\ text', "cache_control", '"cache_control"', "]}"]),
    st.lists(
        st.sampled_from(
            [
                {"type": "text", "text": "a"},
                {"type": "text", "text": "a", "cache_control": MARK},
                {"type": "text", "text": "a", "prompt_cache_breakpoint": None},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            ]
        ),
        max_size=2,
    ),
)
MESSAGES = st.one_of(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "user", "assistant", "system", "tool"]), "content": CONTENTS}
    ),
    st.fixed_dictionaries({"content": CONTENTS, "role": st.sampled_from(["user", "assistant", "developer"])}),
    st.sampled_from([{"role": "assistant", "tool_calls": [{"id": "1"}]}, {"type": "reasoning"}, 5, None]),
)
FIELDS = st.lists(
    st.sampled_from(
        [
            *[("tools", [{"name": "x"}]), ("tools", None), ("system", "s"), ("system", 5), ("instructions", "s")],
            *[("user", "u"), ("stream", True), ("stream_options", {"include_usage": False}), ("max_tokens", 5)],
            *[("session_id", "s"), ("provider", {"order": ["a"]}), ("prompt_cache_key", "k"), ("cache_control", MARK)],
        ]
    ),
    max_size=3,
).map(dict)
LAYOUTS = st.sampled_from([{"separators": (",", ":")}, {}, {"indent": 1}])


def read(name: str, body: bytes) -> ParsedRequest | None:
    """As its dialect reads it; None: it refuses it."""
    try:
        return BY_NAME[name].parse(body, NOWHERE)
    except BadRequestError:
        return None


def written(
    name: str, messages: list[Any], front: dict[str, Any], back: dict[str, Any], style: dict[str, Any]
) -> bytes:
    return json.dumps({**front, PROMPTS[name]: messages, **back}, **style).encode()


@given(
    st.sampled_from(list(PROMPTS)),
    st.tuples(
        st.lists(MESSAGES, max_size=1), st.just({"role": "user", "content": "a"}), st.lists(MESSAGES, max_size=3)
    ),
    st.lists(MESSAGES, max_size=4),
    FIELDS,
    FIELDS,
    st.booleans(),
    LAYOUTS,
)
def test_a_longer_conversation_is_read_alike_from_its_beginning(
    name: str,
    begun: tuple[list[Any], Any, list[Any]],
    more: list[Any],
    front: dict[str, Any],
    back: dict[str, Any],
    first: bool,
    style: dict[str, Any],
) -> None:
    messages = [*begun[0], begun[1], *begun[2]]
    (front if first else back)["model"] = "m"
    body, longer = (written(name, each, front, back, style) for each in (messages, messages + more))
    before = read(name, body)
    if before is None or before.layout is None or not may_go_on(before, body):
        return
    end = before.layout.ends[-1]
    rest = body[end:]
    if longer.startswith(body[:end]) and longer.endswith(rest):
        found = gone_on(before, end, longer[end : len(longer) - len(rest)])
        assert found is None or found == read(name, longer)


@given(
    st.sampled_from(list(PROMPTS)),
    st.one_of(
        st.text(alphabet=',[]{}":\\ a1é', max_size=12).map(str.encode),
        st.sampled_from(
            [
                b',{"role":"assistant"},',
                b',{"role":"assistant"}],"messages":[{"role":"user"}',
                b',{"role":"assistant"},{"role":"user"}',
                b',{"role":"assistant"},{"role":"user","content":"\xff"}',
                b',{"role":"assistant"},{"role":"user","content":"\\ud83e"}',
                b' , {"role" : "assistant"} , {"role":"user"} ',
            ]
        ),
        st.binary(max_size=6),
    ),
)
def test_whatever_is_put_behind_the_messages_is_read_alike_or_as_a_whole(name: str, added: bytes) -> None:
    body = written(name, [{"role": "user", "content": "a"}], {}, {"model": "m"}, {})
    before = read(name, body)
    assert before is not None
    assert before.layout is not None
    assert may_go_on(before, body)
    end = before.layout.ends[-1]
    found = gone_on(before, end, added)
    assert found is None or found == read(name, body[:end] + added + body[end:])


@pytest.mark.parametrize("name", list(PROMPTS))
@pytest.mark.parametrize("style", [{"separators": (",", ":")}, {"indent": 1}], ids=["compact", "indented"])
@pytest.mark.parametrize("turns", [1, 14, 20, 33, 80])
def test_a_usual_turn_is_not_read_as_a_whole(name: str, style: dict[str, Any], turns: int) -> None:
    messages = [{"role": ("user", "assistant")[at % 2], "content": f"part {at}"} for at in range(2 * turns + 1)]
    body, longer = (written(name, each, {}, {"model": "m", "tools": [{}]}, style) for each in (messages[:-2], messages))
    before = read(name, body)
    assert before is not None
    assert before.layout is not None
    assert may_go_on(before, body)
    end = before.layout.ends[-1]
    found = gone_on(before, end, longer[end : len(longer) - len(body) + end])
    assert found is not None
    assert found == read(name, longer)


@given(st.integers(BEFORE_MESSAGES + 1, 5_000), st.integers(1, MOST_ADDED))
def test_what_is_kept_of_a_longer_prompt_was_kept_of_the_shorter_one_or_is_new(count: int, more: int) -> None:
    values = [*kept_positions(count), *range(count, count + more)]
    assert list(still_kept(count, more, values)) == list(kept_positions(count + more))
