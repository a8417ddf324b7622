"""Envoy's ext_proc service: its messages translated for a router, and the router's answers for Envoy.

One message in, one out. The bytes are read and written raw: parsing is one call of upb.
"""

import logging
import time
from collections.abc import Callable, Collection
from typing import Final, Protocol

from google.protobuf.message import DecodeError

from limpet_extproc.contract.envoy import DEBUG_KEPT
from limpet_extproc.contract.reasons import EXPLAINED
from limpet_extproc.decision.clients import STRANGERS, Clients
from limpet_extproc.dialects.port import Dialect, Refusal
from limpet_extproc.dialects.registry import spoken
from limpet_extproc.envoy.cluster_names import UNUSABLE, ClusterNames
from limpet_extproc.envoy.requests import (
    HeadReader,
    comes_alone,
    head_of_headers,
    is_turn,
    not_utf8_header,
    parsed,
)
from limpet_extproc.envoy.responses import (
    ADMITTED_HEADERS,
    CONTINUE_BODY,
    CONTINUE_HEADERS,
    Responses,
    answered,
    refused,
)
from limpet_extproc.envoy.wire import body_apart, body_in_front, not_utf8, path_of
from limpet_extproc.request.clients import client_of
from limpet_extproc.request.debugging import Debugging, ExplainedAlone
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.refusals import bad_request
from limpet_extproc.request.router import Router
from limpet_extproc.request.routing import Routing
from limpet_extproc.telemetry.metrics import WorkerMetrics

_log = logging.getLogger(__name__)

_MODELS: Final = "/models"
_ROUTED: Final = "routed"
"""In a metric, of what was not refused."""

METHOD: Final = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"


class MessageStream(Protocol):
    """The side of a gRPC call that messages come from and go to."""

    async def read(self) -> object:
        """The bytes of the next message, or something else at the end of the stream."""

    async def write(self, data: bytes) -> None:
        """Send a message."""


class ExtProc:
    """`ExternalProcessor.Process` for raw bytes: in one message, for an Envoy that announces it, or as a stream."""

    def __init__(
        self,
        router: Router,
        metrics: WorkerMetrics,
        ready: Callable[[], bool],
        clients: Callable[[], Clients] = lambda: STRANGERS,
        debugging: Debugging | None = None,
        translated: Callable[[str], Collection[str]] = lambda _provider: (),
    ) -> None:
        """`debugging` gets the requests whose clients ask why; None: nobody is told.

        `translated`: the APIs whose requests are translated for a provider, which only our own gateway does.
        """
        self._router = router
        self._clients = clients
        self._debugging = debugging
        self._metrics = metrics
        self._ready = ready
        self._translated = translated
        self._heads = HeadReader()
        self._responses = Responses()

    async def one(self, data: bytes | memoryview) -> bytes:
        """One request: its body in, the answer out."""
        began = time.perf_counter()
        apart = body_in_front(data)
        if apart is not None and (known := self._heads.known(apart[1])) is not None:
            answer = await self._answer(apart[0], lambda: known)
        else:
            try:
                request, body = parsed(data, apart)
            except DecodeError:
                # As an error it would count against this worker, and Envoy leaves out one that fails a few times.
                rest, _ = body_apart(data)
                return self._refuse_header(not_utf8(rest), spoken(path_of(rest)).dialect)
            of_headers = request.HasField("request_headers")
            after = b"" if apart is None else apart[1]
            answer = await self._answer(body, lambda: self._heads.read(request, after), of_headers=of_headers)
        self._metrics.added_s.append(time.perf_counter() - began)
        return answer

    async def process(self, stream: MessageStream, names: ClusterNames | None = None) -> None:
        """One request: a headers message and, if it has a body, that. `names`: of clusters that are not our own."""
        head: RequestHead | None = None
        while isinstance(data := await stream.read(), bytes):
            began = time.perf_counter()
            request, body = parsed(data)
            if request.HasField("request_headers"):
                head = head_of_headers(request)
                if names is not None and (names is UNUSABLE or not is_turn(head)):
                    await stream.write(CONTINUE_HEADERS)
                    return
                if name := not_utf8_header(request):
                    await stream.write(self._refuse_header(name, head.dialect))
                    return
                needs_no_body = head.api.kind == "object" or head.asked.path.startswith(_MODELS)
                if not (request.request_headers.end_of_stream or (needs_no_body and comes_alone(head))):
                    await stream.write(CONTINUE_HEADERS)
                    continue
                if not needs_no_body:
                    await stream.write(CONTINUE_HEADERS)
                    return
            by_header = head is not None
            answer = await self._answer(
                body,
                lambda: head or self._heads.read(request),  # noqa: B023 (called before the next message)
                names,
                of_headers=request.HasField("request_headers"),
                by_header=by_header,
            )
            self._metrics.added_s.append(time.perf_counter() - began)
            await stream.write(answer)
            return

    async def _answer(
        self,
        body: bytes | memoryview,
        read_head: Callable[[], RequestHead],
        names: ClusterNames | None = None,
        *,
        of_headers: bool = False,
        by_header: bool = False,
    ) -> bytes:
        """`by_header`: the first provider is named in a header, as in Header mode."""
        go_on = CONTINUE_HEADERS if of_headers else CONTINUE_BODY
        if not self._ready():
            return go_on
        routing: Routing | Refusal | ExplainedAlone
        try:
            head = read_head()
            if head.asked.path.startswith(_MODELS):
                return self._admitted(head)
            if DEBUG_KEPT in head.headers and self._debugging is not None:
                routing = await self._debugging.route(head, body)
            else:
                routing = await self._router.route(head, body)
        except Exception:
            # A bug of ours must not cost the client the request: Envoy goes on in the order of the route.
            _log.exception("a request was let through undecided; please report this")
            self._metrics.failures.inc()
            return go_on
        if isinstance(routing, Refusal):
            return self._refuse(routing, head.dialect)
        if isinstance(routing, ExplainedAlone):
            self._metrics.decisions.add(1, EXPLAINED)
            return answered(routing.text.encode())
        self._count(routing)
        if not by_header:
            return self._responses.routed(routing, head, of_headers=of_headers)
        cluster: str | None = routing.decision.order[0]
        if names is not None:
            cluster = self._name_there(routing, names)
        return self._responses.at_cluster(routing, cluster, of_headers=of_headers)

    def _name_there(self, routing: Routing, names: ClusterNames) -> str | None:
        """What the first provider is called by an Envoy that is not ours; None: that does not reach it."""
        provider = routing.decision.order[0]
        return None if routing.record.api in self._translated(provider) else names.of(provider)

    def _count(self, routing: Routing) -> None:
        self._metrics.decisions.add(1, routing.decision.reason)
        if routing.decision.enforce_reason is not None:
            self._metrics.observed_decisions.add(1, routing.decision.enforce_reason)
        if routing.record.unrecognised:
            self._metrics.unrecognised.add(1, routing.record.model)
        if routing.record.client:
            self._metrics.client_requests.add(1, routing.record.client, _ROUTED)

    def _admitted(self, head: RequestHead) -> bytes:
        """Whether Envoy may tell this client of the models; it asks where keys are required."""
        client = client_of(head.headers, self._clients())
        return self._refuse(client, head.dialect) if isinstance(client, Refusal) else ADMITTED_HEADERS

    def _refuse(self, refusal: Refusal, dialect: Dialect) -> bytes:
        self._metrics.decisions.add(1, refusal.reason)
        if refusal.client:
            self._metrics.client_requests.add(1, refusal.client, refusal.reason)
        return refused(refusal, dialect.error_body(refusal))

    def _refuse_header(self, name: str | None, dialect: Dialect) -> bytes:
        which = f"the header '{name}'" if name else "a header"
        message = f"{which} is not UTF-8: write it in ASCII, or encode it as UTF-8"
        return self._refuse(bad_request(None, message), dialect)
