"""Requests whose clients ask why: who may, and what they get. Others never come here."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from limpet_extproc.contract.envoy import DEBUG_HEADER, DEBUG_KEPT, EXPLAIN_ALONE, EXPLAIN_BESIDE
from limpet_extproc.contract.explanation import Explanation, encode, in_header
from limpet_extproc.decision.clients import Client
from limpet_extproc.decision.snapshot import Snapshot
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.request.clients import client_of
from limpet_extproc.request.explanation import Considered, explained
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.refusals import bad_request
from limpet_extproc.request.routing import Routing


class DecisionWatch:
    """Takes down what one request is decided by."""

    __slots__ = ("alone", "considered")

    def __init__(self, *, alone: bool) -> None:
        self.alone = alone
        """Whether nothing of it may be noted, as it is not sent."""
        self.considered: Considered | None = None


class WatchedRouter(Protocol):
    """A router whose decisions can be watched."""

    async def route(
        self, head: RequestHead, body: bytes | memoryview, watch: DecisionWatch | None = None
    ) -> Routing | Refusal:
        """See `request.router.Router`."""


class ExplainedAlone(msgspec.Struct, frozen=True, gc=False):
    """The answer of a request that is not sent."""

    text: str
    """JSON."""


class Debugging:
    """Answers those who ask."""

    def __init__(self, router: WatchedRouter, snapshot: Callable[[], Snapshot], clock: Callable[[], float]) -> None:
        self._router = router
        self._snapshot = snapshot
        self._clock = clock

    async def route(self, head: RequestHead, body: bytes | memoryview) -> Routing | Refusal | ExplainedAlone:
        """Where it goes, with the explanation; or, if that is all that it asks for, the explanation alone."""
        asked = head.headers[DEBUG_KEPT].strip().lower()
        snapshot = self._snapshot()
        client = client_of(head.headers, snapshot.clients) if snapshot.clients.mode != "Off" else None
        if isinstance(client, Refusal):
            return client
        allowed = may_debug(snapshot, client)
        if asked == EXPLAIN_ALONE:
            if not allowed:
                return not_allowed()
            return ExplainedAlone(encode(await self.alone(head, body)))
        if not allowed:
            return await self._router.route(head, body)
        if asked != EXPLAIN_BESIDE:
            return bad_request(None, f"the header {DEBUG_HEADER} takes '{EXPLAIN_BESIDE}' or '{EXPLAIN_ALONE}'")
        watch = DecisionWatch(alone=False)
        found = await self._router.route(head, body, watch)
        if isinstance(found, Refusal):
            return found
        text = in_header(explained(head, watch.considered, found, self._clock()))
        return msgspec.structs.replace(found, explanation=text)

    async def alone(self, head: RequestHead, body: bytes | memoryview) -> Explanation:
        """What would be done with it, whoever asks; nothing is sent, noted or waited for."""
        watch = DecisionWatch(alone=True)
        found = await self._router.route(head, body, watch)
        return explained(head, watch.considered, found, self._clock())


def may_debug(snapshot: Snapshot, client: Client | None) -> bool:
    """Whether this client may ask; None: it has no key of ours."""
    return snapshot.debug if snapshot.clients.mode == "Off" else client is not None and client.debug


def not_allowed() -> Refusal:
    """It asked for the explanation alone, and may not; so nothing is sent."""
    message = (
        f"{DEBUG_HEADER} is not for this client, so nothing was sent. Where clients have keys, 'debug: true' in the "
        "entry of one allows it; else it is on for loopback with 'limpet up', and in a cluster by gateway.debugHeader."
    )
    return Refusal(403, "refused.debug", message, None, "debug_not_allowed")
