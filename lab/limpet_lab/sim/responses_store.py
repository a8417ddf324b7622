"""What a seller keeps for an account: responses, and conversations that go on in them."""

from collections import OrderedDict
from typing import Any, Final

import msgspec

from limpet_lab.sim.refusal import RefusalError

_MOST: Final = 2_000


class StoredResponse(msgspec.Struct):
    """A response as it is asked for later."""

    shown: dict[str, Any]
    """What a GET shows."""
    given: tuple[dict[str, Any], ...]
    context: tuple[dict[str, Any], ...]
    """All that the next turn goes on from, this answer included."""
    later: list[dict[str, Any]] = []
    """What the next GETs show: a background response gets on each time it is asked for."""


class OpenConversation(msgspec.Struct):
    """A conversation that responses add to."""

    shown: dict[str, Any]
    items: tuple[dict[str, Any], ...] = ()


class ResponseStore:
    """By account and id; the oldest leave first."""

    def __init__(self) -> None:
        self._responses: OrderedDict[tuple[str, str], StoredResponse] = OrderedDict()
        self._conversations: OrderedDict[tuple[str, str], OpenConversation] = OrderedDict()

    def keep(self, account: str, id_: str, response: StoredResponse) -> None:
        """Store a response."""
        self._responses[account, id_] = response
        while len(self._responses) > _MOST:
            self._responses.popitem(last=False)

    def get(self, account: str, id_: str) -> StoredResponse | None:
        """None: there is none, or it is another account's."""
        return self._responses.get((account, id_))

    def require(self, account: str, id_: str) -> StoredResponse:
        """Raises RefusalError with status 404."""
        if (found := self.get(account, id_)) is None:
            raise RefusalError(404, f"Response with id '{id_}' not found.", param="id")
        return found

    def drop(self, account: str, id_: str) -> None:
        """Raises RefusalError with status 404."""
        self.require(account, id_)
        del self._responses[account, id_]

    def open(self, account: str, id_: str, conversation: OpenConversation) -> None:
        """Store a conversation."""
        self._conversations[account, id_] = conversation
        while len(self._conversations) > _MOST:
            self._conversations.popitem(last=False)

    def conversation(self, account: str, id_: str) -> OpenConversation:
        """Raises RefusalError with status 404."""
        if (found := self._conversations.get((account, id_))) is None:
            raise RefusalError(404, f"Conversation with id '{id_}' not found.", param="conversation")
        return found

    def end(self, account: str, id_: str) -> None:
        """Raises RefusalError with status 404."""
        self.conversation(account, id_)
        del self._conversations[account, id_]
