"""Envoy's ext_proc messages and the Exchange, translated into each other; nothing else.

One message in, one out. The bytes are read and written raw: parsing is one call of upb, and the parts of the answer
that only depend on the order are built once and joined, since protobuf messages concatenate.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Protocol

from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError

from limpet_extproc.contract import record as records
from limpet_extproc.contract.envoy import (
    CLUSTER_HEADER,
    DECISION_CUTS,
    DECISION_HEADER,
    DECISION_METADATA,
    DECISION_MODEL,
    DECISION_MODEL_AT,
    DECISION_MODEL_LENGTH,
    DECISION_READER_CUTS,
    DECISION_REASON,
    DECISION_WAIT_MS,
    DECISION_WHY,
    DETAILS_PREFIX,
    HEAD_ATTRIBUTE,
    HEAD_ROUTE,
    READ_HEADERS,
    RECORD_METADATA,
    RECORD_STARTED_MS,
    RECORD_TEXT,
    ROUTE_GROUPS,
    ROUTE_KEY,
    ROUTE_METADATA,
    ROUTE_TRIES,
    route_key,
)
from limpet_extproc.decision.snapshot import Snapshot
from limpet_extproc.envoy.wire import body_apart, metadata_of, not_utf8
from limpet_extproc.memory import Memory
from limpet_extproc.providers.events import TrialBegan
from limpet_extproc.providers.tracker import Providers
from limpet_extproc.request.exchange import Edits, Exchange, Head, Refusal, Routing, Tries, bad_request
from limpet_extproc.request.reading import LIGHT_BYTES, Read
from limpet_extproc.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

METHOD: Final = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"

_ATTRIBUTES: Final = "envoy.filters.http.ext_proc"

_CONTINUE_HEADERS: Final = bytes(pb.ProcessingResponse(request_headers=pb.HeadersResponse()).SerializeToString())
_CONTINUE_BODY: Final = bytes(pb.ProcessingResponse(request_body=pb.BodyResponse()).SerializeToString())


def _body_answer(mutation: pb.HeaderMutation) -> bytes:
    # clear_route_cache counts only with a header_mutation beside it, an empty one will do.
    response = pb.CommonResponse(clear_route_cache=True, header_mutation=mutation)
    return bytes(pb.ProcessingResponse(request_body=pb.BodyResponse(response=response)).SerializeToString())


_ROUTED: Final = _body_answer(pb.HeaderMutation())
_RECORD: Final = metadata_of(RECORD_METADATA, RECORD_TEXT, RECORD_STARTED_MS)


class Decides(Protocol):
    """What stands between a request and its answer: ours, or in the lab the rules of somebody else."""

    async def decide(self, head: Head, body: bytes | memoryview) -> Routing | Refusal:
        """Where the request goes."""


class Stream(Protocol):
    """The side of a gRPC call that messages come from and go to."""

    async def read(self) -> object:
        """The bytes of the next message, or something else at the end of the stream."""

    async def write(self, data: bytes) -> None:
        """Send a message."""


class Limpet:
    """Our own rules: look the conversation up, choose, note what is under way."""

    def __init__(
        self,
        read: Read,
        snapshot: Callable[[], Snapshot],
        memory: Memory,
        providers: Providers,
        secret: bytes,
        clock: Callable[[], float],
        coin: Callable[[], bytes],
    ) -> None:
        self._read = read
        self._snapshot = snapshot
        self._memory = memory
        self._providers = providers
        self._secret = secret
        self._clock = clock
        self._coin = coin

    async def decide(self, head: Head, body: bytes | memoryview) -> Routing | Refusal:
        """See `Decides`."""
        request = await self._read(head, body)
        if isinstance(request, Refusal):
            return request
        exchange = Exchange(head, request, len(body), self._snapshot(), self._secret)
        if exchange.refusal is not None:
            return exchange.refusal
        now_s = self._clock()
        remembered = await self._memory.lookup(exchange.key, now_s)
        answer = exchange.decide(remembered, self._providers.known, now_s, self._coin())
        if isinstance(answer, Routing):
            decision = answer.decision
            if decision.trial:
                self._providers.apply(TrialBegan(decision.order[0], now_s, answer.record.model))
            if remembered is None and answer.record.learn and answer.record.ttls_s[0] > 0:
                self._memory.expect(exchange.key, decision.order[0], now_s)
        return answer


class ExtProc:
    """`ExternalProcessor.Process` for raw bytes: in one message, for an Envoy that announces it, or as a stream."""

    def __init__(self, rules: Decides, metrics: Metrics, ready: Callable[[], bool]) -> None:
        self._rules = rules
        self._metrics = metrics
        self._ready = ready
        self._routes: dict[tuple[tuple[str, ...], str, bool, int, int], bytes] = {}
        self._plain: dict[tuple[str, str, float | None], bytes] = {}

    async def one(self, data: bytes | memoryview) -> bytes:
        """One request: its body in, the answer out."""
        began = time.perf_counter()
        try:
            request, body = _parsed(data)
        except DecodeError:
            # As an error it would count against this worker, and Envoy leaves out one that fails a few times in a row.
            self._metrics.decisions.add(1, "refused.bad_request")
            return _refuse(_not_utf8(data))
        answer = await self._answer(request, body, None)
        self._metrics.added_s.append(time.perf_counter() - began)
        return answer

    async def process(self, stream: Stream) -> None:
        """One request: a headers message and, if it has a body, that."""
        head: Head | None = None
        while isinstance(data := await stream.read(), bytes):
            began = time.perf_counter()
            request, body = _parsed(data)
            if request.HasField("request_headers"):
                if wrong := _wrong_header(request):
                    self._metrics.decisions.add(1, "refused.bad_request")
                    await stream.write(_refuse(_header_not_utf8(wrong)))
                    return
                head = _head_of_headers(request)
                await stream.write(_CONTINUE_HEADERS)
                if request.request_headers.end_of_stream:
                    return
                continue
            answer = await self._answer(request, body, head)
            self._metrics.added_s.append(time.perf_counter() - began)
            await stream.write(answer)
            return

    async def _answer(self, request: pb.ProcessingRequest, body: bytes | memoryview, head: Head | None) -> bytes:
        if not self._ready():
            return _CONTINUE_BODY
        by_header = head is not None
        try:
            head = head or _head_of_attributes(request)
            answer = await self._rules.decide(head, body)
        except Exception:
            # A fault of ours must not cost the client the request: Envoy goes on in the order of the route.
            log.exception("a request was let through undecided; please report this")
            self._metrics.failures.inc()
            return _CONTINUE_BODY
        if isinstance(answer, Refusal):
            self._metrics.decisions.add(1, answer.reason)
            return _refuse(answer)
        self._metrics.decisions.add(1, answer.decision.reason)
        if answer.decision.would is not None:
            self._metrics.would.add(1, answer.decision.would)
        if answer.record.unrecognised:
            self._metrics.unrecognised.add(1, answer.record.model)
        told = self._told(answer) + _RECORD(records.encode(answer.record), answer.record.started_s * 1000)
        if by_header:
            return _chosen_by_header(answer.decision.order[0]) + told
        return _ROUTED + self._route(answer.decision.order, head.headers.get(HEAD_ROUTE, ""), answer.tries) + told

    def _told(self, routing: Routing) -> bytes:
        """Reason and edits. Without edits and trouble they are the same for all requests of a model."""
        if routing.edits is not None or routing.why:
            return _decision(routing)
        kind = routing.decision.reason, routing.record.model, routing.tries.patience_s
        built = self._plain.get(kind)
        if built is None:
            if len(self._plain) >= _MAX_KEPT:
                self._plain.clear()
            built = self._plain[kind] = _decision(routing)
        return built

    def _route(self, order: tuple[str, ...], known: str, tries: Tries) -> bytes:
        key = order, known, tries.stream, tries.patience, tries.each
        built = self._routes.get(key)
        if built is None:
            if len(self._routes) >= _MAX_KEPT:
                self._routes.clear()
            built = self._routes[key] = _route(order, known.split(" "), tries)
        return built


_MAX_KEPT: Final = 10_000
"""Different parts of answers that are kept as bytes; a bound for gateways with very many providers or models."""


def _parsed(data: bytes | memoryview) -> tuple[pb.ProcessingRequest, bytes | memoryview]:
    """The message and the body in it. Raises DecodeError if a header that is read here is not UTF-8."""
    if len(data) <= LIGHT_BYTES:
        request = pb.ProcessingRequest.FromString(bytes(data))
        return request, request.request_body.body
    # The parser would copy the body twice.
    rest, body = body_apart(data)
    return pb.ProcessingRequest.FromString(rest), body


def _not_utf8(data: bytes | memoryview) -> Refusal:
    return _header_not_utf8(not_utf8(body_apart(data)[0]))


def _header_not_utf8(name: str | None) -> Refusal:
    which = f"the header '{name}'" if name else "a header"
    return bad_request(None, f"{which} is not UTF-8: write it in ASCII, or encode it as UTF-8")


def _head_of_attributes(request: pb.ProcessingRequest) -> Head:
    headers: dict[str, str] = {}
    for line in request.attributes[_ATTRIBUTES].fields[HEAD_ATTRIBUTE].string_value.split("\n"):
        name, _, value = line.partition(" ")
        if value:
            headers[name] = value
    return Head(headers.get(":path", ""), headers)


def _head_of_headers(request: pb.ProcessingRequest) -> Head:
    headers: dict[str, str] = {}
    for header in request.request_headers.headers.headers:
        # A policy may name any header, and two texts must not become one.
        headers[header.key] = header.value or header.raw_value.decode("utf-8", "backslashreplace")
    return Head(headers.get(":path", ""), headers)


def _wrong_header(request: pb.ProcessingRequest) -> str | None:
    """The first header that is read here and is not UTF-8."""
    for header in request.request_headers.headers.headers:
        if header.key in READ_HEADERS:
            try:
                header.raw_value.decode()
            except UnicodeDecodeError:
                return str(header.key)
    return None


def _metadata(namespace: str, values: Mapping[str, Any]) -> bytes:
    metadata = struct_pb2.Struct()
    metadata.fields[namespace].struct_value.update(values)
    return bytes(pb.ProcessingResponse(dynamic_metadata=metadata).SerializeToString())


def _route(order: tuple[str, ...], known: Collection[str], tries: Tries) -> bytes:
    """Each provider is its own group with its own cluster; those that the route has not are described.

    A name alone is a third of the work for Envoy, which copies all of this into its access log too. The first stands
    there as often as it may be tried; the Lua of the clusters sees to it for the others, and goes on after an answer.
    """
    groups = [
        {"name": name} if name in known else {"name": name, "clusters": [{"cluster_name": name, "weight": 1}]}
        for name in (*order[:1] * tries.each, *order[1:])
    ]
    route = route_key(len(order) * tries.each, tries.stream, tries.patience)
    return _metadata(ROUTE_METADATA, {ROUTE_GROUPS: groups, ROUTE_TRIES: tries.each, ROUTE_KEY: route})


def _decision(routing: Routing) -> bytes:
    metadata = struct_pb2.Struct()
    decision = metadata.fields[DECISION_METADATA].struct_value
    decision.fields[DECISION_REASON].string_value = routing.decision.reason
    if routing.why:
        decision.fields[DECISION_WHY].string_value = routing.why
    decision.fields[DECISION_MODEL].string_value = routing.record.model
    if routing.tries.patience_s is not None:
        decision.fields[DECISION_WAIT_MS].number_value = routing.tries.patience_s * 1000
    if routing.edits is not None:
        _add_edits(decision, routing.edits)
    return bytes(pb.ProcessingResponse(dynamic_metadata=metadata).SerializeToString())


def _add_edits(struct: struct_pb2.Struct, edits: Edits) -> None:
    struct.fields[DECISION_MODEL_AT].number_value = edits.model_span.offset
    struct.fields[DECISION_MODEL_LENGTH].number_value = edits.model_span.length
    if edits.cuts:
        struct.update({DECISION_CUTS: [[cut.offset, cut.length] for cut in edits.cuts]})
    if edits.cuts_for_readers is not None:
        struct.update({DECISION_READER_CUTS: [[cut.offset, cut.length] for cut in edits.cuts_for_readers]})


def _chosen_by_header(cluster: str) -> bytes:
    header = base_pb2.HeaderValue(key=CLUSTER_HEADER, raw_value=cluster.encode())
    overwrite = base_pb2.HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
    option = base_pb2.HeaderValueOption(header=header, append_action=overwrite)
    return _body_answer(pb.HeaderMutation(set_headers=[option]))


def _refuse(refusal: Refusal) -> bytes:
    immediate = pb.ImmediateResponse(body=refusal.body(), details=DETAILS_PREFIX + refusal.reason)
    immediate.status.code = refusal.status
    for key, value in (("content-type", "application/json"), (DECISION_HEADER, refusal.reason)):
        immediate.headers.set_headers.add(header=base_pb2.HeaderValue(key=key, raw_value=value.encode()))
    return bytes(pb.ProcessingResponse(immediate_response=immediate).SerializeToString())
