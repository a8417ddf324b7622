"""Which dialect reads a request, by its path and the type of its body. A new one is a module and a line here."""

from typing import Final, NamedTuple

from limpet_extproc.contract.apis import (
    CONVERSATIONS,
    MESSAGE_BATCHES,
    MOST_PATH_CHARS,
    OBJECTS,
    Api,
    Asked,
    api_of,
    asked,
)
from limpet_extproc.dialects.anthropic_messages import AnthropicMessages
from limpet_extproc.dialects.endpoint import StatelessJson
from limpet_extproc.dialects.form import Form, is_form
from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.dialects.openai_responses import OpenAIResponses
from limpet_extproc.dialects.port import Dialect

_CONVERSATIONAL: Final[tuple[Dialect, ...]] = (OpenAIChat(), OpenAIResponses(), AnthropicMessages())
BY_NAME: Final = {dialect.name: dialect for dialect in _CONVERSATIONAL}
_ENDPOINT: Final = StatelessJson()
_BATCHES: Final = StatelessJson(BY_NAME["AnthropicMessages"].error_body)
_CHAT: Final = Asked("/chat/completions")


class Spoken(NamedTuple):
    """What a request asks for, and in which dialect."""

    dialect: Dialect
    api: Api
    asked: Asked


_CLEAR: Final = OBJECTS | {"audio", "completions", "embeddings", "images", "moderations", "rerank", "responses"}
"""First parts of paths that name an API without `/v1` before them, too."""


def spoken(path: str, content_type: str = "", *, anthropic: bool = False) -> Spoken:
    """What a request for this path asks for; `anthropic`: its client speaks that vendor's APIs, files among them.

    In Header mode the gateway is not Limpet's and may serve the APIs under a prefix, or under any name. A path that is
    not recognised is taken for one of chat completions, and the body shows whether it is.
    """
    found = _EXACT.get(path) or _spoken(path[:MOST_PATH_CHARS])
    if found.api.kind in ("stateless", "object") and found.api.name not in BY_NAME:
        if anthropic:
            found = found._replace(dialect=_BATCHES)
        if content_type and is_form(content_type):
            return found._replace(dialect=Form(content_type, found.dialect.error_body))
    return found


def _spoken(path: str) -> Spoken:
    plain = path.partition("?")[0]
    found = asked(plain)
    api = api_of(found.path)
    if api is None or (api.kind == "stateless" and plain.startswith(found.path) and api.name not in _CLEAR):
        found = _under_prefix(plain)
        api = api_of(found.path) or Api("OpenAIChat", "conversation")
    return Spoken(_BATCHES if api.name == MESSAGE_BATCHES else BY_NAME.get(api.name, _ENDPOINT), api, found)


def _under_prefix(path: str) -> Asked:
    _, base, rest = path.rpartition("/v1/")
    if base and api_of((found := asked(base + rest)).path) is not None:
        return found
    return next((Asked(end) for end in CONVERSATIONS if path.rstrip("/").endswith(end)), _CHAT)


_EXACT: Final = {path: _spoken(path) for path in (*(f"/v1{each}" for each in CONVERSATIONS), "/v1/embeddings")}
