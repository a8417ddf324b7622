"""The ruler counts exactly, and equal heads of prompts give equal hashes."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_lab.sim.prompt import Prompt, Ruler, chain, render

_TEXTS = st.lists(st.text(max_size=120), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("chars", "ratio", "tokens"),
    [
        (0, 2.9, 0),
        (1, 2.9, 1),
        (2, 2.9, 1),
        (3, 2.9, 2),
        (29, 2.9, 10),
        (30, 2.9, 11),
        (12_000, 2.9, 4138),
        (5, 1.0, 5),
    ],
)
def test_a_segment_has_its_characters_divided_by_the_ratio_rounded_up(chars: int, ratio: float, tokens: int) -> None:
    assert Ruler(ratio).tokens("x" * chars) == tokens


@given(tokens=st.integers(0, 100_000), milli=st.integers(1000, 9000))
def test_chars_fill_exactly_that_many_tokens(tokens: int, milli: int) -> None:
    ruler = Ruler(milli / 1000)
    assert ruler.tokens("x" * ruler.chars(tokens)) == tokens


@given(texts=_TEXTS, step=st.integers(1, 20), milli=st.integers(1000, 5000))
def test_a_chain_has_one_hash_for_every_whole_step(texts: list[str], step: int, milli: int) -> None:
    prompt = Prompt(tuple(texts), Ruler(milli / 1000))
    assert len(list(chain(prompt, step, 7))) == prompt.tokens // step


@given(texts=_TEXTS, more=_TEXTS, step=st.integers(1, 20))
def test_what_follows_never_changes_the_hashes_of_what_was(texts: list[str], more: list[str], step: int) -> None:
    short = list(chain(Prompt(tuple(texts)), step, 7))
    long = list(chain(Prompt((*texts, *more)), step, 7))
    assert long[: len(short)] == short


def test_a_changed_character_changes_every_hash_from_its_step_on() -> None:
    text = "abcdefghij" * 29
    changed = text[:145] + "X" + text[146:]
    before, after = (list(chain(Prompt((value,)), 10, 7)) for value in (text, changed))
    assert [a == b for a, b in zip(before, after, strict=True)] == [True] * 5 + [False] * 5


def test_segments_are_not_glued_together() -> None:
    ruler = Ruler(1.0)
    assert list(chain(Prompt(("ab", "cd"), ruler), 4, 0)) != list(chain(Prompt(("abc", "d"), ruler), 4, 0))


def test_scopes_never_share() -> None:
    prompt = Prompt(("x" * 100,))
    assert not set(chain(prompt, 5, 1)) & set(chain(prompt, 5, 2))


_IMAGE = {"type": "image_url", "image_url": {"url": "https://pictures.example/a.png"}}
_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    "changed",
    [
        {"role": "developer", "content": "hello"},
        {"role": "user", "content": "hello", "name": "ann"},
        {"role": "user", "content": [{"type": "text", "text": "hello"}, _IMAGE]},
        {"role": "assistant", "content": "hello", "tool_calls": [_CALL]},
    ],
)
def test_everything_a_model_sees_of_a_message_counts(changed: Mapping[str, object]) -> None:
    plain = {"messages": [{"role": "user", "content": "hello"}]}
    assert render(plain).segments != render({"messages": [changed]}).segments


def test_text_parts_are_the_same_prompt_as_a_string() -> None:
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
    assert render({"messages": [{"role": "user", "content": parts}]}) == render(
        {"messages": [{"role": "user", "content": "hello"}]}
    )


def test_tools_come_before_the_messages() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    first, second = render({"messages": [{"role": "user", "content": "hi"}], "tools": tools}).segments
    assert first.startswith("<tools>")
    assert second == "<user>hi"


def test_an_image_weighs_what_the_ruler_says() -> None:
    ruler = Ruler(image_tokens=100)
    with_image = render({"messages": [{"role": "user", "content": [_IMAGE]}]}, ruler)
    without = render({"messages": [{"role": "user", "content": ""}]}, ruler)
    assert with_image.tokens - without.tokens in (99, 100)
