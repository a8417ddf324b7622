"""`cache_control` for providers that read it nowhere, at blocks, or at the request, too: what each of them gets."""

import json
from typing import Any

import pytest
from tests.extproc.json_places import Place, places
from tests.extproc.splicing import spliced

from limpet_extproc.contract.catalog import CacheControl
from limpet_extproc.dialects.port import CacheDirectives, LastBlock
from limpet_extproc.dialects.spans import Member, Span
from limpet_extproc.request.cache_marks import is_marked, put_marks
from limpet_extproc.request.splices import BodyDraft

FIVE = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def marks_of(place: Place) -> list[Member]:
    """Every `cache_control` within."""
    found: list[Member] = []
    for number, (key, begin, value) in enumerate(place.members):
        if key == b'"cache_control"':
            before = place.members[number - 1][2].end if number else -1
            after = place.members[number + 1][1] if number + 1 < len(place.members) else -1
            found.append(Member("cache_control", begin, value.begin, value.end, before, after))
        found += marks_of(value)
    return found + [mark for item in place.items for mark in marks_of(item)]


def sent(body: bytes, read: CacheControl, *, adds: bool = False) -> Any:
    """What a provider gets that reads it at these places."""
    whole = places(body)
    own = [mark for mark in marks_of(whole) if (b'"cache_control"', mark.start) in {m[:2] for m in whole.members}]
    others = tuple(sorted(mark for mark in marks_of(whole) if mark not in own))
    ask = CacheDirectives(top_level=own[0] if own else None, marks=others) if own or others else None
    blocks = []
    for message in reversed(whole["messages"].items):
        content = message["content"]
        last = content.items[-1] if content.items else content
        blocks.append(LastBlock(Span(last.begin, last.end - last.begin), is_text=not content.items))
    draft = BodyDraft()
    put_marks(draft, ask, body, read, lambda: tuple(blocks), adds=adds)
    return json.loads(spliced(body, draft.done(body)))


def request(content: Any, **fields: Any) -> bytes:
    return json.dumps({**fields, "messages": [{"role": "user", "content": content}]}).encode()


def text(words: str, mark: Any = ...) -> dict[str, Any]:
    return {"type": "text", "text": words} | ({} if mark is ... else {"cache_control": mark})


def of(got: Any) -> Any:
    return got["messages"][-1]["content"]


@pytest.mark.parametrize("top_level", [FIVE, HOUR, None])
def test_where_it_is_not_read_nothing_of_it_is_left(top_level: Any) -> None:
    tools = [{"name": "t", "cache_control": HOUR}, {"cache_control": FIVE, "name": "u"}]
    body = request(
        [{"cache_control": None, "type": "text", "text": "a"}, text("b", FIVE)], tools=tools, cache_control=top_level
    )
    got = sent(body, "None")
    assert got == {
        "tools": [{"name": "t"}, {"name": "u"}],
        "messages": [{"role": "user", "content": [text("a"), text("b")]}],
    }


@pytest.mark.parametrize("content", ["Hi", [text("a", FIVE), text("b")], [text("a", HOUR)] * 6])
def test_where_the_request_itself_may_have_it_all_of_it_passes(content: Any) -> None:
    body = request(content, cache_control=HOUR)
    assert sent(body, "TopLevel") == json.loads(body)


@pytest.mark.parametrize("value", [FIVE, HOUR, {"type": "ephemeral", "ttl": "5m"}, "wrong", 7, {"type": 1}])
@pytest.mark.parametrize(
    ("content", "becomes"),
    [
        ("Hi \u0130\\", lambda mark: [text("Hi \u0130\\", mark)]),
        ([text("a"), text("b")], lambda mark: [text("a"), text("b", mark)]),
        ([text("a"), text("b", None)], lambda mark: [text("a"), text("b", mark)]),
    ],
    ids=["text", "blocks", "null"],
)
def test_at_blocks_that_of_the_request_becomes_the_last_blocks(content: Any, becomes: Any, value: Any) -> None:
    got = sent(request(content, cache_control=value), "Blocks")
    assert got == {"messages": [{"role": "user", "content": becomes(value)}]}


@pytest.mark.parametrize(
    ("content", "top_level"),
    [
        ([text("a", FIVE)] * 4 + [text("b")], FIVE),
        ([text("a", FIVE)] * 5, FIVE),
        ([text("a"), text("b", FIVE)], HOUR),
        ([text("a"), text("b", HOUR)], HOUR),
        ([text("a", FIVE), text("b")], HOUR),
        ([text("a", HOUR), text("c", FIVE), text("b")], HOUR),
        ([text("a"), text("b")], None),
    ],
    ids=["four", "five", "its own, shorter", "its own", "hour after five", "mixed", "null"],
)
def test_the_clients_own_are_neither_moved_nor_joined_by_one_too_many(content: Any, top_level: Any) -> None:
    got = sent(request(content, cache_control=top_level), "Blocks")
    assert got == json.loads(request(content))


@pytest.mark.parametrize(
    ("content", "top_level"),
    [
        ([text("a", HOUR), text("b")], HOUR),
        ([text("a", HOUR), text("b")], FIVE),
        ([text("a", FIVE)] * 3 + [text("b")], FIVE),
        ([text("a", None)] * 5 + [text("b")], FIVE),
    ],
    ids=["hours", "hour first", "a fourth", "nulls are none"],
)
def test_beside_the_clients_own_there_is_room_for_one(content: Any, top_level: Any) -> None:
    got = of(sent(request(content, cache_control=top_level), "Blocks"))
    assert got == [*content[:-1], content[-1] | {"cache_control": top_level}]


@pytest.mark.parametrize("null", [{}, {"cache_control": None}], ids=["absent", "null"])
def test_one_that_is_added_stands_where_the_provider_reads_it(null: dict[str, Any]) -> None:
    body = request("Hi", **null)
    assert sent(body, "TopLevel", adds=True) == json.loads(body) | {"cache_control": FIVE}
    assert sent(body, "Blocks", adds=True) == json.loads(request([text("Hi", FIVE)]))


def test_a_prompt_without_a_block_that_may_have_one_gets_none() -> None:
    body = request("Hi", cache_control=FIVE)
    top_level = marks_of(places(body))[0]
    draft = BodyDraft()
    put_marks(draft, CacheDirectives(top_level=top_level), body, "Blocks", tuple, adds=False)
    assert json.loads(spliced(body, draft.done(body))) == json.loads(request("Hi"))


@pytest.mark.parametrize(
    ("fields", "marked"),
    [({}, False), ({"cache_control": None}, False), ({"cache_control": FIVE}, True)],
)
@pytest.mark.parametrize(("mark", "also"), [(..., False), (None, False), (FIVE, True)])
def test_null_marks_nothing(fields: dict[str, Any], marked: bool, mark: Any, also: bool) -> None:
    body = request([text("a", mark)], **fields)
    found = marks_of(places(body))
    own = [member for member in found if fields and member.start < body.index(b"messages")]
    ask = CacheDirectives(top_level=own[0] if own else None, marks=tuple(m for m in found if m not in own))
    assert is_marked(ask, body) == (marked or also)
    assert not is_marked(None, body)


@pytest.mark.parametrize(("read", "last"), [("Blocks", text("c", FIVE)), ("TopLevel", text("c"))])
def test_a_prompt_too_far_back_has_one_at_its_end_as_well(read: CacheControl, last: dict[str, Any]) -> None:
    """The blocks that are found stand for such that are far from each other."""
    got = sent(two([text("a")], [text("c")], cache_control=FIVE), read)
    assert [message["content"][-1] for message in got["messages"]] == [text("a", FIVE), last]
    got = sent(two([text("a")], [text("c")]), read, adds=True)
    assert [message["content"][-1] for message in got["messages"]] == [text("a", FIVE), last]


@pytest.mark.parametrize(
    ("first", "second", "value", "becomes"),
    [
        ([text("a", FIVE)] * 3 + [text("b")], [text("c")], FIVE, [..., FIVE]),
        ([text("a", FIVE)] * 2 + [text("b")], [text("c")], FIVE, [FIVE, FIVE]),
        ([text("b")], [text("c", HOUR), text("d")], FIVE, [..., FIVE]),
        ([text("b", HOUR), text("b")], [text("d")], FIVE, [FIVE, FIVE]),
        ([text("b", HOUR), text("b")], [text("d")], HOUR, [HOUR, HOUR]),
        ([text("a", FIVE), text("b", FIVE)], [text("d")], FIVE, [FIVE, FIVE]),
        ([text("b", None)], [text("d", None)], FIVE, [FIVE, FIVE]),
    ],
    ids=["a fifth", "a fourth", "before an hour", "after an hour", "hours", "its own", "nulls"],
)
def test_neither_is_one_too_many_or_out_of_order(first: Any, second: Any, value: Any, becomes: list[Any]) -> None:
    got = sent(two(first, second, cache_control=value), "Blocks")
    assert [message["content"][-1].get("cache_control", ...) for message in got["messages"]] == becomes


def two(first: Any, second: Any, **fields: Any) -> bytes:
    messages = [{"role": "user", "content": first}, {"role": "user", "content": second}]
    return json.dumps({**fields, "messages": messages}).encode()
