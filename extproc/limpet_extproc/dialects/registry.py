"""The dialects that are served, and which of them a request is in. A new one is a module and a line here."""

from typing import Final

from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.dialects.port import Dialect

DIALECTS: Final[tuple[Dialect, ...]] = (OpenAIChat(),)

BY_NAME: Final = {dialect.name: dialect for dialect in DIALECTS}

_BY_PATH: Final = {path: dialect for dialect in DIALECTS for path in dialect.paths}


def dialect_of(path: str) -> Dialect:
    """The dialect of a request for this path, whose query does not matter.

    In Header mode the gateway is not Limpet's and may serve the APIs under a prefix, or under any name. A path that is
    not recognised is taken for the first dialect's, and the body shows whether it is.
    """
    return _BY_PATH.get(path) or _by_end(path.partition("?")[0])


def _by_end(path: str) -> Dialect:
    return next((dialect for dialect in DIALECTS if path.endswith(dialect.paths)), DIALECTS[0])
