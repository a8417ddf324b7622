"""Which dialect reads a request, by its path. A new one is a module and a line here."""

from typing import Final, NamedTuple

from limpet_extproc.contract.apis import CONVERSATIONS, Api, Asked, api_of, asked
from limpet_extproc.dialects.anthropic_messages import AnthropicMessages
from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.dialects.port import Dialect

BY_NAME: Final[dict[str, Dialect]] = {dialect.name: dialect for dialect in (OpenAIChat(), AnthropicMessages())}


class Spoken(NamedTuple):
    """What a request asks for, and in which dialect."""

    dialect: Dialect
    api: Api
    asked: Asked


_CHAT: Final = Asked("/chat/completions")
_USUAL: Final = 4096
"""Characters of a path; a longer one is no path of an API."""


def spoken(path: str) -> Spoken:
    """What a request for this path asks for.

    In Header mode the gateway is not Limpet's and may serve the APIs under a prefix, or under any name. A path that is
    not recognised is taken for one of chat completions, and the body shows whether it is.
    """
    return _EXACT.get(path) or _spoken(path[:_USUAL])


def _spoken(path: str) -> Spoken:
    found = asked(path)
    api = api_of(found.path)
    dialect = BY_NAME.get(api.name) if api else None
    if api is None or dialect is None:
        found = next((Asked(end) for end in CONVERSATIONS if found.path.endswith(end)), _CHAT)
        api = Api(CONVERSATIONS[found.path], "conversation")
        dialect = BY_NAME.get(api.name, BY_NAME[CONVERSATIONS[_CHAT.path]])
    return Spoken(dialect, api, found)


_EXACT: Final = {path: _spoken(path) for path in (f"/v1{each}" for each in CONVERSATIONS)}
