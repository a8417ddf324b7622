"""What a model would read: the request rendered to text in prompt order, and that text's tokens.

The tokeniser is a ruler, not a vocabulary: with r characters per token, token *i* of a segment is its characters from
i·r up to (i+1)·r. So counts are exact and cheap, equal heads give equal tokens, and a segment of n characters has
ceil(n / r). Segments are the tools, then each message; none shares a token with its neighbour.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
import xxhash

CHARS_PER_TOKEN: Final = 2.9
"""A published measurement: 12,000 characters gave about 4,150 tokens. English prose is nearer to 4."""

IMAGE_TOKENS: Final = 256


class Ruler(msgspec.Struct, frozen=True):
    """How many characters make a token, and what an image weighs."""

    chars_per_token: float = CHARS_PER_TOKEN
    image_tokens: int = IMAGE_TOKENS

    def __post_init__(self) -> None:
        """Refuse ratios that give no tokens or several per character."""
        if self.chars_per_token < 1:
            raise ValueError("charsPerToken must be at least 1")

    @property
    def milli(self) -> int:
        """Thousandths of a character per token: whole numbers, so that counts never depend on rounding."""
        return round(self.chars_per_token * 1000)

    def tokens(self, text: str) -> int:
        """Tokens of one segment."""
        return -(-len(text) * 1000 // self.milli)

    def chars(self, tokens: int) -> int:
        """Characters that fill exactly this many tokens."""
        return tokens * self.milli // 1000


class Prompt(msgspec.Struct, frozen=True):
    """A rendered request."""

    segments: tuple[str, ...]
    ruler: Ruler = Ruler()

    @property
    def tokens(self) -> int:
        """Length of the whole prompt."""
        return sum(map(self.ruler.tokens, self.segments))

    def then(self, message: Mapping[str, object]) -> "Prompt":
        """Return this prompt with one more message at its end."""
        return Prompt((*self.segments, render_message(message, self.ruler)), self.ruler)


def render(body: Mapping[str, object], ruler: Ruler | None = None) -> Prompt:
    """Render a valid chat request: tools first, then the messages. Key order counts, white space doesn't."""
    ruler = ruler or Ruler()
    segments: list[str] = []
    if tools := body.get("tools"):
        segments.append("<tools>" + msgspec.json.encode(tools).decode())
    messages = body["messages"]
    assert isinstance(messages, list)
    segments.extend(render_message(message, ruler) for message in messages)
    return Prompt(tuple(segments), ruler)


def render_message(message: Mapping[str, object], ruler: Ruler) -> str:
    """One message: its role, then everything the model would see of it."""
    pieces = [f"<{message['role']}>"]
    pieces.extend(f"<{key}={message[key]}>" for key in ("name", "tool_call_id") if message.get(key))
    pieces.extend(_parts(message.get("content"), ruler))
    if calls := message.get("tool_calls"):
        pieces.append("<calls>" + msgspec.json.encode(calls).decode())
    return "".join(pieces)


def chain(prompt: Prompt, step_tokens: int, seed: int) -> Iterator[int]:
    """Yield one hash per whole step; each covers everything before it, so equal hashes mean equal heads."""
    milli = prompt.ruler.milli
    digest = xxhash.xxh3_64(seed=seed)
    room = step_tokens
    for segment in prompt.segments:
        digest.update(b"\x00")  # keeps "ab" + "c" from looking like "a" + "bc"
        done, total = 0, prompt.ruler.tokens(segment)
        while total - done >= room:
            end = done + room
            digest.update(segment[done * milli // 1000 : end * milli // 1000].encode("utf-8", "surrogatepass"))
            yield digest.intdigest()
            done, room = end, step_tokens
        if done < total:
            digest.update(segment[done * milli // 1000 :].encode("utf-8", "surrogatepass"))
            room -= total - done


def text_of(content: object) -> str:
    """The plain text of a message's content: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return ""
    return "".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))


def _parts(content: object, ruler: Ruler) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if part.get("type") == "text":
                yield part["text"]
            else:
                yield picture(msgspec.json.encode(part), ruler)


def picture(part: bytes, ruler: Ruler) -> str:
    """An image or file as text of a fixed weight that differs whenever the part differs."""
    mark = xxhash.xxh3_64_hexdigest(part)
    length = ruler.chars(ruler.image_tokens)
    return (mark * (length // len(mark) + 1))[:length]
