"""Requests of each API as an odd client writes them: any order, white space, escapes, lookalikes within texts."""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

SPACES = ("", "", "", " ", "\n\t", "\r\n  ", " " * 80)
TEXTS = (
    "Hello",
    "",
    "\\",
    '"',
    "{[",
    "]},:",
    'x","model":"y"',
    '"cache_control":{"type":"ephemeral"}',
    '"prompt_cache_key":null,"prompt_cache_key":null',
    "\\u006d",
    "stream_options",
    "Ω\U0001f41a\u2028",
    "model\\",
    "half a pair \ud83e",
)
PLAIN = ("cache_control",)
"""Keys that count only as everybody writes them: a body that does not mention them so is not searched for them."""
MARKS = ({"type": "ephemeral"}, {"type": "ephemeral", "ttl": "5m"}, {"type": "ephemeral", "ttl": "1h"}, None)

Fields = dict[str, Any]


def spelled(random: Random, value: Any) -> str:
    """One of the JSON texts of a value."""
    pad, end = random.choice(SPACES), random.choice(SPACES)
    if isinstance(value, dict):
        inside = ",".join(f"{spelled(random, key)}:{spelled(random, each)}" for key, each in value.items())
        return f"{pad}{{{inside or end}}}{end}"
    if isinstance(value, list):
        return f"{pad}[{','.join(spelled(random, each) for each in value) or end}]{end}"
    if isinstance(value, str) and value not in PLAIN and random.random() < 0.1:
        units = value.encode("utf-16-be", "surrogatepass").hex()
        return pad + '"' + "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)) + '"' + end
    halved = isinstance(value, str) and any("\ud800" <= letter < "\ue000" for letter in value)
    return pad + json.dumps(value, ensure_ascii=halved or random.random() < 0.5) + end


def chat(random: Random) -> Fields:
    """Chat completions."""
    messages = [{"role": role, "content": content(random, ["text"])} for role in roles(random)]
    fields = {"messages": messages, **common(random), **keyed(random), **marked(random, "cache_control")}
    if random.random() < 0.5:
        fields["tools"] = tools(random)
    if random.random() < 0.7:
        fields["stream"] = random.choice([True, True, False, None])
    if random.random() < 0.5:
        answers = [{"include_usage": answer} for answer in (None, True, False)]
        fields["stream_options"] = random.choice([None, {}, *answers, {"x": "}", **answers[2]}, {"x": [{}]}])
    return fields


def messages(random: Random) -> Fields:
    """Anthropic's Messages."""
    turns = [
        {"role": role, "content": content(random, ["text", "tool_result", "image", "thinking"])}
        for role in roles(random)
        if role != "system"
    ]
    fields = {"messages": turns, "max_tokens": 9, **common(random), **marked(random, "cache_control")}
    if random.random() < 0.5:
        fields["system"] = content(random, ["text"])
    if random.random() < 0.5:
        fields["tools"] = tools(random)
    return fields


def responses(random: Random) -> Fields:
    """OpenAI's Responses."""
    items = [{"role": role, "content": random.choice(TEXTS)} for role in roles(random)]
    input_ = random.choice([items, random.choice(TEXTS[:1] + TEXTS[2:])])
    return {"input": input_, **common(random), **keyed(random)}


def body(random: Random, fields: Fields) -> bytes:
    """A request of these fields in any order."""
    members = list(fields.items())
    random.shuffle(members)
    return spelled(random, dict(members)).encode()


def common(random: Random) -> Fields:
    """What every API has: the model, Limpet's own fields, and something that nobody reads."""
    fields: Fields = {"model": "flash"}
    if random.random() < 0.3:
        fields["session_id"] = random.choice(["s", None])
    if random.random() < 0.2:
        fields["allow_fallbacks"] = random.choice([True, None])
    if random.random() < 0.2:
        fields["provider"] = random.choice([None, {}, {"order": ["a", "x"]}, {"data_collection": "allow"}])
    if random.random() < 0.5:
        lookalikes = {"model": "x", "cache_control": MARKS[0], "prompt_cache_key": None, "stream_options": {}}
        fields["extra"] = random.choice([lookalikes, [lookalikes], random.choice(TEXTS), 1.5])
    return fields


def keyed(random: Random) -> Fields:
    """The fields of OpenAI about prompt caches."""
    fields: Fields = {}
    if random.random() < 0.3:
        fields["prompt_cache_key"] = random.choice(["k", None])
    if random.random() < 0.3:
        fields["prompt_cache_retention"] = random.choice(["24h", None])
    if random.random() < 0.3:
        fields["prompt_cache_options"] = random.choice([{"ttl": "30m"}, {}, None])
    return fields


def marked(random: Random, key: str, most: float = 0.4) -> Fields:
    """Perhaps a breakpoint."""
    return {key: random.choice(MARKS)} if random.random() < most else {}


def roles(random: Random) -> Sequence[str]:
    """Of the messages; the last is the user's."""
    turns = ["user", "assistant"] * random.randint(0, 2)
    return [*(["system"] if random.random() < 0.5 else []), *turns, "user"]


def content(random: Random, kinds: Sequence[str]) -> Any:
    """A text or blocks."""
    if random.random() < 0.4:
        return random.choice(TEXTS)
    most = 24 if random.random() < 0.1 else 3
    return [block(random, random.choice(kinds)) for _ in range(random.randint(1, most))]


def block(random: Random, kind: str) -> Fields:
    """One of a kind, with its members in any order."""
    made: dict[str, Callable[[], Fields]] = {
        "text": lambda: {"text": random.choice(TEXTS)},
        "thinking": lambda: {"thinking": random.choice(TEXTS), "signature": "s"},
        "image": lambda: {"source": {"type": "base64", "data": "AAAA"}},
        "tool_result": lambda: {"tool_use_id": "t", "content": content(random, ["text"])},
    }
    members = [("type", kind), *made[kind]().items()]
    if kind != "thinking":
        members += marked(random, "cache_control", 0.2).items()
    random.shuffle(members)
    return dict(members)


def tools(random: Random) -> list[Fields]:
    """Some, with a schema that looks like a request."""
    schema = {"type": "object", "properties": {"model": {"type": "string"}, "cache_control": {"type": "object"}}}
    return [{"name": "t", "input_schema": schema, **marked(random, "cache_control", 0.2)} for _ in range(2)]
