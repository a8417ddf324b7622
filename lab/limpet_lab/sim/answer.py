"""The model's answer: text or a tool call that depends on nothing but the request, so a replay is answered alike."""

from collections.abc import Mapping
from typing import Final

import msgspec
import xxhash

from limpet_lab.sim.prompt import Prompt, Ruler

_WORDS: Final = (
    "tide",
    "rock",
    "shell",
    "salt",
    "light",
    "slow",
    "water",
    "foot",
    "path",
    "home",
    "returns",
    "while",
    "the",
    "a",
)


class Answer(msgspec.Struct, frozen=True):
    """A finished answer, and how a stream cuts it."""

    text: str
    """The content, or the arguments of the tool call as JSON."""
    tokens: int
    finish: str
    pieces: tuple[str, ...]
    tool: str | None = None
    """Name of the called function."""
    thoughts: str = ""
    """What was thought before, if the request asks for it; `tokens` count it."""
    reasoning: int = 0
    """Tokens of the thoughts."""

    def message(self, call_id: str) -> dict[str, object]:
        """Return the assistant's message as a client sends it back in the next turn."""
        if self.tool is None:
            return {"role": "assistant", "content": self.text}
        call = {"id": call_id, "type": "function", "function": {"name": self.tool, "arguments": self.text}}
        return {"role": "assistant", "content": None, "tool_calls": [call]}


def answer(
    prompt: Prompt,
    length: tuple[int, int],
    max_tokens: int | None,
    tool: Mapping[str, object] | None,
    *,
    schema: Mapping[str, object] | None = None,
    reasoning: int = 0,
) -> Answer:
    """Answer a prompt with `length[0]` to `length[1]` tokens in 8 to 16 pieces.

    With a `tool` it is a call of it, with a `schema` a value that matches; `reasoning` tokens of thoughts come first.
    """
    seed = xxhash.xxh3_64_intdigest("\x00".join(prompt.segments).encode("utf-8", "surrogatepass"))
    count = 8 + seed % 9
    ruler = prompt.ruler
    thoughts = _prose(seed ^ 1, ruler, reasoning)
    if tool is not None or schema is not None:
        value = msgspec.json.encode(_sample(schema if tool is None else tool.get("parameters"))).decode()
        name, finish = (None, "stop") if tool is None else (str(tool["name"]), "tool_calls")
        return Answer(value, ruler.tokens(value) + reasoning, finish, _cut(value, count), name, thoughts, reasoning)
    low, high = length
    wanted = low + seed % (high - low + 1)
    tokens = wanted if max_tokens is None else min(wanted, max_tokens)
    text = _prose(seed, ruler, tokens)
    finish = "length" if tokens < wanted else "stop"
    return Answer(text, tokens + reasoning, finish, _cut(text, count), None, thoughts, reasoning)


def _prose(seed: int, ruler: Ruler, tokens: int) -> str:
    length = ruler.chars(tokens)
    words: list[str] = []
    size = 0
    while size < length:
        seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
        words.append(_WORDS[(seed >> 33) % len(_WORDS)])
        size += len(words[-1]) + 1
    return " ".join(words).ljust(length, ".")[:length]


def _cut(text: str, count: int) -> tuple[str, ...]:
    size = max(1, -(-len(text) // count))
    return tuple(text[start : start + size] for start in range(0, len(text), size))


def _sample(schema: object) -> object:
    """Build the smallest sensible value of a JSON schema."""
    if not isinstance(schema, dict):
        return {}
    if isinstance(options := schema.get("enum"), list) and options:
        return options[0]
    match schema.get("type"):
        case "string":
            return "sample"
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case "array":
            return [_sample(schema.get("items"))] if schema.get("items") else []
        case "null":
            return None
        case _:
            properties = schema.get("properties")
            return {name: _sample(part) for name, part in properties.items()} if isinstance(properties, dict) else {}
