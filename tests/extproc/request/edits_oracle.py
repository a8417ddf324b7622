"""What a provider is to get of a request, said once more, of decoded JSON and in the simplest way."""

from copy import deepcopy
from typing import Any, NamedTuple

from limpet_extproc.decision.snapshot import Candidate

OURS = ("session_id", "allow_fallbacks", "provider", "models")
RETENTION = ("prompt_cache_retention", "prompt_cache_options")
USUAL = {"type": "ephemeral"}


def expected(request: dict[str, Any], candidate: Candidate, key: str, *, adds: bool) -> dict[str, Any]:
    """The request that this one gets. `key`: its `prompt_cache_key` if it gets one, `adds`: a breakpoint is added."""
    sent = deepcopy(request)
    for field in OURS:
        sent.pop(field, None)
    if not candidate.cache_fields.retention:
        for field in RETENTION:
            sent.pop(field, None)
    sent["model"] = candidate.upstream_model
    if "messages" in sent:
        put_marks(sent, candidate.cache_control, USUAL if adds else None)
    if candidate.cache_key and sent.get("prompt_cache_key") is None:
        sent["prompt_cache_key"] = key
    if not candidate.stream_usage:
        sent.pop("stream_options", None)
    if "messages" in sent and "max_tokens" not in sent and candidate.stream_usage and sent.get("stream"):
        options = sent.get("stream_options")
        sent["stream_options"] = (options or {}) | {"include_usage": True}
    return sent


def put_marks(sent: dict[str, Any], read: str, added: Any) -> None:
    """`cache_control` where it is read."""
    top_level = added or sent.get("cache_control")
    if read != "TopLevel":
        sent.pop("cache_control", None)
    elif added:
        sent["cache_control"] = added
    if read == "None":
        for each in owners(sent):
            each.pop("cache_control", None)
        return
    marks = [each["cache_control"] for each in owners(sent) if each.get("cache_control")]
    hour = top_level and top_level.get("ttl") == "1h"
    if not top_level or len(marks) > 3 or (hour and any(mark.get("ttl") != "1h" for mark in marks)):
        return
    blocks = blocks_from_the_end(sent)
    ends = [number for number, block in enumerate(blocks) if block.may_end]
    if not ends:
        return
    earlier = next((number for number in ends if blocks[number].answers > blocks[ends[0]].answers), None)
    if earlier is not None and blocks[earlier].at - blocks[ends[0]].at >= 20 and len(marks) < 3:
        between = [mark for block in blocks[ends[0] : earlier + 1] for mark in (block.mark(), *block.inner_marks())]
        if hour or not any(mark and mark.get("ttl") == "1h" for mark in between):
            blocks[earlier].put(top_level)
    if read == "Blocks":
        blocks[ends[0]].put(top_level)


class Block(NamedTuple):
    """Of a message, the system prompt or the tools."""

    holder: Any
    key: Any
    at: int
    """How far from the end, each message counting as a block more."""
    answers: int = 0
    """Among the messages after it."""
    may_end: bool = True

    def mark(self) -> Any:
        """Its own."""
        return self.holder[self.key].get("cache_control") if isinstance(self.holder[self.key], dict) else None

    def inner_marks(self) -> list[Any]:
        """Of the blocks inside of it, if it is the result of a tool."""
        block = self.holder[self.key]
        inner = block.get("content") if isinstance(block, dict) else None
        return [each.get("cache_control") for each in inner] if isinstance(inner, list) else []

    def put(self, mark: Any) -> None:
        """A breakpoint, unless it has one."""
        if isinstance(self.holder[self.key], str):
            self.holder[self.key] = [{"type": "text", "text": self.holder[self.key], "cache_control": mark}]
        elif not self.mark():
            self.holder[self.key]["cache_control"] = mark


def blocks_from_the_end(sent: dict[str, Any]) -> list[Block]:
    """All of them; a text in their place is one, unless it is empty."""
    blocks: list[Block] = []
    at = answers = 0

    def add(holder: Any, key: str, answers: int) -> None:
        nonlocal at
        content = holder.get(key) or []
        places = [(holder, key)] if isinstance(content, str) else [(content, n) for n in reversed(range(len(content)))]
        for within, place in places:
            at += 1
            block = within[place]
            may_end = isinstance(block, str) or (block.get("type") != "thinking" and block.get("text") != "")
            blocks.append(Block(within, place, at, answers, may_end))

    for message in reversed(sent["messages"]):
        at += 1
        add(message, "content", answers)
        answers += message["role"] == "assistant"
    if "max_tokens" in sent:
        add(sent, "system", 0)
    add(sent, "tools", 0)
    return blocks


def owners(sent: dict[str, Any]) -> list[dict[str, Any]]:
    """All that may have a breakpoint of its own."""
    contents = [sent.get("system"), *(message["content"] for message in sent["messages"])]
    chat = sent["messages"] if "max_tokens" not in sent else []
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    inner = [each for block in blocks if isinstance(block.get("content"), list) for each in block["content"]]
    return [*sent.get("tools", []), *blocks, *inner, *chat]
