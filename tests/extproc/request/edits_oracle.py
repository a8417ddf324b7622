"""What a provider is to get of a request, said once more, of decoded JSON and in the simplest way."""

from copy import deepcopy
from typing import Any

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
    if "messages" in sent and "max_tokens" not in sent and candidate.stream_usage and sent.get("stream"):
        options = sent.get("stream_options")
        sent["stream_options"] = (options or {}) | {"include_usage": True}
    return sent


def put_marks(sent: dict[str, Any], read: str, added: Any) -> None:
    """`cache_control` where it is read."""
    if read == "TopLevel":
        if added:
            sent["cache_control"] = added
        return
    top_level = sent.pop("cache_control", None) or added
    if read == "None":
        for each in owners(sent):
            each.pop("cache_control", None)
        return
    marks = [each["cache_control"] for each in owners(sent) if each.get("cache_control")]
    clash = top_level and top_level.get("ttl") == "1h" and any(mark.get("ttl") != "1h" for mark in marks)
    if top_level and len(marks) < 4 and not clash:
        put_last(sent, top_level)


def owners(sent: dict[str, Any]) -> list[dict[str, Any]]:
    """All that may have a breakpoint of its own."""
    contents = [sent.get("system"), *(message["content"] for message in sent["messages"])]
    chat = sent["messages"] if "max_tokens" not in sent else []
    return [*sent.get("tools", []), *(b for c in contents if isinstance(c, list) for b in c), *chat]


def put_last(sent: dict[str, Any], mark: Any) -> None:
    """On the last block that may have one, unless it has."""
    for holder in [*reversed(sent["messages"]), *([sent] if "system" in sent and "max_tokens" in sent else [])]:
        field = "system" if holder is sent else "content"
        if isinstance(holder[field], str):
            if holder[field]:
                holder[field] = [{"type": "text", "text": holder[field], "cache_control": mark}]
                return
            continue
        for block in reversed(holder[field]):
            if block["type"] != "thinking" and block.get("text") != "":
                if not block.get("cache_control"):
                    block["cache_control"] = mark
                return
    for tool in reversed(sent.get("tools", [])):
        if not tool.get("cache_control"):
            tool["cache_control"] = mark
        return
