"""The APIs that clients speak, told by the path of a request: one table for both planes.

Clients write a path in many ways: with a `/v1` too few or too many, as OpenAI's SDK for Azure does, with a slash at the
end. What is left of it is what follows `/v1` at the vendor's own address.
"""

import re
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote

DialectName = Literal["OpenAIChat", "OpenAIResponses", "AnthropicMessages"]
"""The APIs in which conversations are held."""

ApiKind = Literal["conversation", "counting", "stateless", "object"]
"""conversation: a turn, which is remembered. counting: asks about a turn, goes where its conversation is and teaches
nothing. stateless: goes to any provider of its model. object: its path or body names what lives in one account."""

CONVERSATIONS: Final[dict[str, DialectName]] = {
    "/chat/completions": "OpenAIChat",
    "/responses": "OpenAIResponses",
    "/messages": "AnthropicMessages",
}
COUNTING: Final[dict[str, DialectName]] = {
    "/messages/count_tokens": "AnthropicMessages",
    "/responses/input_tokens": "OpenAIResponses",
    "/responses/compact": "OpenAIResponses",
}
MESSAGE_BATCHES: Final = "message_batches"
"""Anthropic's `/messages/batches`, whose first part is that of another API."""

OBJECTS: Final = frozenset(
    {
        "assistants",
        "batches",
        "chatkit",
        "containers",
        "conversations",
        "evals",
        "files",
        "fine_tuning",
        "organization",
        MESSAGE_BATCHES,
        "skills",
        "threads",
        "uploads",
        "vector_stores",
        "videos",
    }
)
"""APIs whose objects belong to an account, from OpenAI's and Anthropic's references, 2026: a shared gateway would show
those of one client to another."""

REFERENCES: Final[dict[str, str]] = {
    "container": "code_interpreter of OpenAI's Responses; Anthropic's Messages, also as an object with its id",
    "container_id": "calls of code_interpreter among the items of Responses",
    "file_id": "parts and sources of content, attachments, images to edit and their masks; all vendors",
    "file_ids": "containers of code_interpreter, resources of tools",
    "skill_id": "skills of a container, Anthropic's and OpenAI's",
    "vector_store_ids": "file_search of Responses and of assistants",
}
"""Fields of a turn that name objects, and where the APIs have them: from the references of OpenAI, 2026."""

LIVE: Final = frozenset({"realtime"})
"""APIs that are spoken over WebSocket or WebRTC, which this gateway does not pass on."""


MOST_PATH_CHARS: Final = 4096
"""Of a request, with its query. A longer one is refused: it is no path of an API."""


class Asked(NamedTuple):
    """A path without all that differs from client to client."""

    path: str
    """What follows `/v1`, without query: `/chat/completions`."""
    model: str = ""
    """Azure's deployment, which stands in the path; whatever model the body names, this one is meant."""


NOWHERE: Final = Asked("")


class Api(NamedTuple):
    """What a request asks for."""

    name: str
    """A `DialectName`, or the first part of the path of any other API: `embeddings`, `images`, `files`."""
    kind: ApiKind


OF_DEPLOYMENTS: Final = (
    *("/audio/transcriptions", "/audio/translations", "/images/generations", "/chat/completions", "/audio/speech"),
    *("/images/edits", "/completions", "/embeddings", "/responses", "/messages"),
)
"""What Azure serves below a deployment, as OpenAI's SDK has it (`lib/azure.py`), and the other conversations; the
longest first. What stands before one of these is the deployment, whose name may have slashes here."""
_DEPLOYMENTS: Final = "/openai/deployments/"
_DEPLOYMENT: Final = re.compile(f"{_DEPLOYMENTS}(?:(.+?)(?:/v1)*(?=(?:{'|'.join(OF_DEPLOYMENTS)})$)|([^/]+)(?=/))")
_BASE: Final = re.compile(r"(?:/openai|/anthropic)?(?:/v1)*(?=/|$)")
_VERSIONS: Final = re.compile(r"(?:/v1)*(?=/|$)")


def asked(path: str) -> Asked:
    """What a path asks for, however it is written."""
    plain = re.sub(r"/{2,}", "/", path.partition("?")[0]).rstrip("/")
    if found := _DEPLOYMENT.match(plain):
        rest = plain[found.end() :]
        return Asked(_VERSIONS.sub("", rest, count=1), unquote(found[1] or found[2]))
    base = _BASE.match(plain)
    return Asked(plain[base.end() :] if base else plain)


def api_of(path: str) -> Api | None:
    """The API of a path that `asked` has left; None: it is no path of an API."""
    if dialect := CONVERSATIONS.get(path):
        return Api(dialect, "conversation")
    if dialect := COUNTING.get(path):
        return Api(dialect, "counting")
    if path.startswith("/responses/"):
        return Api("OpenAIResponses", "object")
    if path == "/messages/batches" or path.startswith("/messages/batches/"):
        return Api(MESSAGE_BATCHES, "object")
    first = path[1:].partition("/")[0]
    if not path.startswith("/") or not re.fullmatch(r"[a-z][a-z0-9_-]*", first) or first in ("chat", "messages"):
        return None
    return Api(first, "object" if first in OBJECTS else "stateless")
