"""Random bodies, and how an independent reader parses them: Python's own, which shares no code with ours."""

import json
import re
from collections.abc import Callable, Iterator
from json.decoder import scanstring  # type: ignore[attr-defined]
from random import Random
from typing import Any, Final, NamedTuple

_FIELDS: Final = ("model", "messages", "provider", "session_id", "allow_fallbacks", "models", "user", "x", "", "tools")
_OURS: Final = frozenset({"provider", "session_id", "allow_fallbacks", "models"})
_STRINGS: Final = (
    "",
    "model",
    '"model":"x"',
    "\\",
    '"',
    "}{][,:",
    "é",
    "\U0001f41a",
    "\u2028",
    "\ud83e",
    "x" * 300,
    "s",
)
_SPACE: Final = ("", "", "", " ", "\n\t", "\r\n  ")
_WHITE: Final = re.compile(r"[ \t\r\n]*")


class Member(NamedTuple):
    """One member of the top level: the parsed key, and key and value as they are written."""

    name: str
    key: str
    value: str


def bodies(model: str, seed: int, count: int, *, api: str = "OpenAIChat", blocks: bool = False) -> Iterator[bytes]:
    """So many bodies, half of them mutated; most of the others are requests for the model.

    `blocks`: with fields of the API besides, and messages of blocks, some of which have a `cache_control`.
    """
    dice = Random(seed)
    for _ in range(count):
        body = _body(dice, model, _of_api(dice, api) if blocks else [])
        yield _mutated(dice, body) if dice.random() < 0.5 else body


def members(body: bytes) -> list[Member] | None:
    """Those of the top level, as they are written; None if this is no JSON object in UTF-8."""
    try:
        text = body.decode()
        if not isinstance(json.loads(text, parse_constant=_no_constant), dict):
            return None
    except (ValueError, RecursionError):
        return None
    found, at = [], _white(text, _white(text, 0) + 1)
    while text[at] != "}":
        name, end = scanstring(text, at + 1, True)
        key, at = text[at:end], _white(text, _white(text, end) + 1)
        _, end = json.JSONDecoder().raw_decode(text, at)
        found.append(Member(name, key, text[at:end]))
        at = _white(text, end)
        at = _white(text, at + 1) if text[at] == "," else at
    return found


def as_it_must_arrive(sent: list[Member], model: str, upstream_model: str) -> list[tuple[str, str]]:
    """Keys and values as they are written, of what a provider that calls the model otherwise has to get."""
    renamed = json.dumps(upstream_model)
    return [
        (each.key, renamed if each.name == "model" and json.loads(each.value) == model else each.value)
        for each in sent
        if each.name not in _OURS
    ]


def _white(text: str, at: int) -> int:
    found = _WHITE.match(text, at)
    assert found is not None
    return found.end()


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _body(dice: Random, model: str, more: list[tuple[str, str]]) -> bytes:
    message = _object(dice, [("role", '"user"'), ("content", _value(dice, 2) if dice.random() < 0.5 else '"Hi"')])
    fields = [("model", _string(dice, model)), *(more or [("messages", f"[{message}]")])]
    fields += [(dice.choice(_FIELDS), _value(dice, 0)) for _ in range(dice.choice((0, 0, 1, 2, 4)))]
    if dice.random() < 0.3:
        fields.append(("session_id", _string(dice, dice.choice(_STRINGS))))
    if dice.random() < 0.3:
        fields.append(
            ("provider", dice.choice(('{"sort":"price"}', "{}", "null", '{"only":["x"]}', '{ "zdr" : false }')))
        )
    if dice.random() < 0.1:
        fields.append((dice.choice(("Model", "MODEL", "model")), _string(dice, model)))
    if dice.random() < 0.1:
        fields.append(("metadata", _object(dice, [("model", '"x"')] * dice.randrange(1, 200))))
    if dice.random() < 0.02:
        fields.append(("x", json.dumps("x" * dice.randrange(60_000, 3_000_000))))
    dice.shuffle(fields)
    return (dice.choice(_SPACE) + _object(dice, fields) + dice.choice(_SPACE)).encode("utf-8", "replace")


def _of_api(dice: Random, api: str) -> list[tuple[str, str]]:
    fields = [("messages", _list(dice, _message, 1))]
    for name, kind in (*_SHARED, *(_MESSAGES if api == "AnthropicMessages" else _CHAT)):
        if dice.random() < 0.3:
            fields.append((name, kind(dice) if dice.random() < 0.9 else _value(dice, 2)))
    return fields


def _message(dice: Random) -> str:
    if dice.random() < 0.05:
        return _value(dice, 2)
    role = ("role", _string(dice, dice.choice(("user", "user", "assistant", "system"))))
    fields = [role, ("content", _text(dice) if dice.random() < 0.3 else _list(dice, _block))]
    dice.shuffle(fields)
    return _object(dice, fields + _mark(dice, 0.05))


def _block(dice: Random) -> str:
    kind = dice.choice(("text", "text", "text", "image", "thinking", "tool_use", "tool_result", "x"))
    fields = [("type", _string(dice, kind)), *_mark(dice, 0.3)]
    if kind == "text" or dice.random() < 0.1:
        fields.append(("text", _text(dice)))
    if kind == "tool_use":
        fields.append(("input", _object(dice, _mark(dice, 0.5))))
    if kind == "tool_result":
        fields.append(("content", f"[{_object(dice, _mark(dice, 0.5))}]"))
    dice.shuffle(fields)
    return _object(dice, fields) if dice.random() < 0.97 else _value(dice, 2)


def _mark(dice: Random, chance: float) -> list[tuple[str, str]]:
    return [("cache_control", _cache_control(dice))] if dice.random() < chance else []


def _cache_control(dice: Random) -> str:
    return dice.choice((*_MARKS, _value(dice, 2)))


def _text(dice: Random) -> str:
    return _string(dice, dice.choice(("Hi", "", *_STRINGS, '{"cache_control":{}}', "cache_control")))


def _list(dice: Random, each: Callable[[Random], str], least: int = 0) -> str:
    return "[" + ",".join(each(dice) for _ in range(dice.randrange(least, 4))) + "]"


_USER_IDS: Final = ("alice", "", "user_0_account__session_1-2", '{"session_id":"s"}', '{"session_id":')
_MARKS: Final = ('{"type":"ephemeral"}', '{"ttl":"1h","type":"ephemeral"}', '{"type":"ephemeral","ttl":"2h"}', "null")
_SHARED: Final[tuple[tuple[str, Callable[[Random], str]], ...]] = (
    ("cache_control", _cache_control),
    ("stream", lambda dice: dice.choice(("true", "true", "false", "null"))),
    ("tools", lambda dice: _list(dice, lambda dice: _object(dice, [("name", '"f"'), *_mark(dice, 0.5)]))),
)
_MESSAGES: Final[tuple[tuple[str, Callable[[Random], str]], ...]] = (
    ("max_tokens", lambda dice: str(dice.randrange(-1, 9))),
    ("metadata", lambda dice: _object(dice, [("user_id", _string(dice, dice.choice(_USER_IDS)))])),
    ("system", lambda dice: _text(dice) if dice.random() < 0.4 else _list(dice, _block)),
)
_CHAT: Final[tuple[tuple[str, Callable[[Random], str]], ...]] = (
    ("prompt_cache_key", _text),
    ("prompt_cache_options", lambda dice: _object(dice, [("ttl", dice.choice(('"30m"', '"1h"', "null")))])),
    ("prompt_cache_retention", lambda dice: dice.choice(('"24h"', '"in_memory"', "null"))),
    ("stream_options", lambda dice: _object(dice, [("include_usage", dice.choice(("true", "false", "null")))])),
)


def _object(dice: Random, fields: list[tuple[str, str]]) -> str:
    space = dice.choice(_SPACE)
    return "{" + ",".join(f"{space}{_string(dice, name)}{space}:{space}{value}{space}" for name, value in fields) + "}"


def _value(dice: Random, depth: int) -> str:
    kind = dice.randrange(8 if depth < 3 else 5)
    if kind < 2:
        return _string(dice, dice.choice(_STRINGS))
    if kind < 5:
        return dice.choice(("0", "-1", "1e999", "12345678901234567890123", "true", "false", "null", "1.5"))
    if kind == 5:
        return "[" + ",".join(_value(dice, depth + 1) for _ in range(dice.randrange(4))) + "]"
    return _object(dice, [(dice.choice(_FIELDS), _value(dice, depth + 1)) for _ in range(dice.randrange(3))])


def _string(dice: Random, text: str) -> str:
    if dice.random() < 0.1:
        units = text.encode("utf-16-be", "surrogatepass").hex()
        return '"' + "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)) + '"'
    return json.dumps(text, ensure_ascii=dice.random() < 0.7 or "\ud83e" in text)


def _mutated(dice: Random, body: bytes) -> bytes:
    changed = bytearray(body)
    for _ in range(dice.choice((1, 1, 2, 8))):
        at = dice.randrange(len(changed) + 1)
        kind = dice.randrange(5)
        if kind == 0:
            del changed[at : at + dice.randrange(1, 20)]
        elif kind == 1:
            changed[at:at] = bytes([dice.choice(b'"\\{}[]:,u0 \x00\xff')])
        elif kind == 2:
            changed[at:at] = changed[at : at + dice.randrange(1, 40)]
        elif kind == 3 and at < len(changed):
            changed[at] ^= 1 << dice.randrange(8)
        else:
            del changed[at:]
    return bytes(changed)
