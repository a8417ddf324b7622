"""Thousands of odd bodies for each dialect: what is read of them is what a plain JSON parser reads there."""

import json
from collections.abc import Container
from typing import Any, Final

import pytest
from tests.odd_bodies import Member, bodies, members

from limpet_extproc.contract.apis import NOWHERE
from limpet_extproc.dialects.anthropic_messages import AnthropicMessages
from limpet_extproc.dialects.last_block import CHAT_PARTS, MESSAGE_BLOCKS
from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.dialects.port import BadRequestError, CacheDirectives, Dialect, ParsedRequest, Refusal
from limpet_extproc.dialects.spans import Member as Place

COUNT: Final = 5000
OURS: Final = ("provider", "allow_fallbacks", "session_id", "models")
LIFETIMES_S: Final = {None: 300, "5m": 300, "1h": 3600}
HALF: Final = b"\\ud83e"
UNKNOWN: Final = -1.0
CACHES_S: Final = {"24h": 86400, "in_memory": 300, "30m": 1800, "1h": 3600}

DIALECTS = pytest.mark.parametrize("dialect", [OpenAIChat(), AnthropicMessages()], ids=lambda dialect: dialect.name)


@DIALECTS
def test_what_is_read_is_what_a_parser_reads(dialect: Dialect) -> None:
    read = whole = 0
    for body in bodies("m", 7, COUNT, api=dialect.name, blocks=True):
        try:
            request = dialect.parse(body, NOWHERE)
        except BadRequestError as error:
            json.loads(dialect.error_body(Refusal(400, "refused.bad_request", error.message, error.param)))
            continue
        read += 1
        sent = members(body)
        assert sent is not None, body
        value = json.loads(body)
        _is_found(body, request, sent, value)
        if b"1e999" not in body and HALF not in body.lower():  # which have one spelling
            rewritten = dialect.parse(json.dumps(value, indent=1).encode(), NOWHERE)
            assert rewritten.fingerprint == request.fingerprint, body
        # Of two members with one key readers may take either.
        if not _has_doubles(body):
            _is_asked(body, dialect, request, value)
            _is_last(body, dialect, value)
            whole += 1
    assert read > COUNT / 5
    assert whole > COUNT / 10


def _has_doubles(body: bytes) -> bool:
    objects: list[list[tuple[str, Any]]] = []
    json.loads(body, object_pairs_hook=objects.append)
    return any(len({name for name, _ in pairs}) != len(pairs) for pairs in objects)


def _is_found(body: bytes, request: ParsedRequest, sent: list[Member], value: Any) -> None:
    """The model and Limpet's own fields, each of which stands there once."""
    names = [each.name for each in sent]
    assert (names.count("model"), names.count("messages")) == (1, 1), body
    assert request.model == value["model"], body
    assert _at(body, *request.model_span) == value["model"], body
    assert sorted(each.name for each in request.ours) == sorted(name for name in names if name in OURS), body
    for each in request.ours:
        assert _member(body, each) == value[each.name], body


def _is_asked(body: bytes, dialect: Dialect, request: ParsedRequest, value: dict[str, Any]) -> None:
    """What is said about caches and usage."""
    cache = request.cache or CacheDirectives()
    chat = dialect.name == "OpenAIChat"
    top_level, marks = _cache_controls(value, chat) if b'"cache_control"' in body else ([], [])
    assert [_member(body, each) for each in (cache.top_level,) if each] == top_level, body
    assert sorted(map(str, (_member(body, each) for each in cache.marks))) == sorted(map(str, marks)), body
    assert list(cache.marks) == sorted(cache.marks, key=lambda each: each.start), body
    fields = [name for name in ("prompt_cache_retention", "prompt_cache_options") if chat and name in value]
    assert [_member(body, each) for each in cache.retention] == [value[name] for name in fields], body
    assert cache.has_key is (chat and bool(value.get("prompt_cache_key"))), body
    assert cache.marks_ttl_s == _shortest_s([_breakpoint_s(each) for each in (*top_level, *marks) if each is not None])
    assert cache.retention_ttl_s == _shortest_s([_cache_s(value[name]) for name in fields]), body
    if chat:
        assert request.usage_asked is _usage_asked(value), body
        assert (request.stream_options is None) == ("stream_options" not in value or request.usage_asked), body
        if request.stream_options:
            assert _at(body, *request.stream_options) == value["stream_options"], body


def _cache_controls(value: dict[str, Any], chat: bool) -> tuple[list[Any], list[Any]]:
    """Of the request and of its blocks; none where the prompt has another shape than it should."""
    messages, tools, system = value["messages"], value.get("tools"), None if chat else value.get("system")
    if not _are_objects(messages) or not (tools is None or _are_objects(tools)):
        return [], []
    contents = [system, *(message.get("content") for message in messages)]
    if not all(each is None or isinstance(each, str) or _are_objects(each) for each in contents):
        return [], []
    system_blocks, *turns = [content if isinstance(content, list) else [] for content in contents]
    blocks = [block for content in turns for block in content]
    inner = [each for block in blocks if _are_objects(block.get("content")) for each in block["content"]]
    blocks += system_blocks if chat else [*system_blocks, *inner]
    marked = [value], [*(tools or []), *(messages if chat else []), *blocks]
    top_level, marks = (
        [each["cache_control"] for each in objects if isinstance(each.get("cache_control", 0), dict | None)]
        for objects in marked
    )
    return top_level, marks


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _breakpoint_s(mark: dict[str, Any]) -> float:
    ttl = mark.get("ttl")
    known = mark.get("type") == "ephemeral" and (ttl is None or isinstance(ttl, str))
    return LIFETIMES_S.get(ttl, UNKNOWN) if known else UNKNOWN


def _shortest_s(lasts_s: list[float | None]) -> float | None:
    said = [each for each in lasts_s if each is not None]
    return None if UNKNOWN in said else min(said, default=None)


def _cache_s(said: Any) -> float | None:
    word = said.get("ttl") if isinstance(said, dict) else said
    if word is None:
        return None
    return CACHES_S.get(word, UNKNOWN) if isinstance(word, str) else UNKNOWN


def _usage_asked(value: dict[str, Any]) -> bool:
    options = value.get("stream_options")
    if value.get("stream") is not True:
        return True
    return options is not None and (not isinstance(options, dict) or options.get("include_usage") not in (None, False))


def _is_last(body: bytes, dialect: Dialect, value: dict[str, Any]) -> None:
    """The last block that may have a breakpoint."""
    kinds = CHAT_PARTS if dialect.name == "OpenAIChat" else MESSAGE_BLOCKS
    found = next(iter(dialect.last_blocks(body)), None)
    if not _are_objects(value["messages"]):
        assert found is None, body
        return
    places: list[Any] = value["tools"] if _are_objects(value.get("tools")) else []
    for content in (value.get("system"), *(message.get("content") for message in value["messages"])):
        if isinstance(content, str) and content:
            places.append(content)
        elif _are_objects(content):
            places += [block for block in content if _may_end(block, kinds)]
    assert (found is None) == (not places), body
    if found is not None:
        assert _at(body, *found.span) == places[-1], body
        assert found.is_text is isinstance(places[-1], str), body


def _may_end(block: dict[str, Any], kinds: Container[str]) -> bool:
    kind, text = block.get("type"), block.get("text")
    return isinstance(kind, str) and kind in kinds and (kind != "text" or (isinstance(text, str) and text != ""))


def _member(body: bytes, member: Place) -> Any:
    """The value of a member, which is read with its key."""
    return json.loads(b"{" + body[member.start : member.end] + b"}")[member.name]


def _at(body: bytes, offset: int, length: int) -> Any:
    return json.loads(body[offset : offset + length])
