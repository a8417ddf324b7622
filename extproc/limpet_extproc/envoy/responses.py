"""Envoy's ext_proc responses, as bytes.

Parts that only depend on the order are built once and joined, since protobuf messages concatenate.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from google.protobuf import struct_pb2

from limpet_extproc.contract import record as records
from limpet_extproc.contract.envoy import (
    CLUSTER_HEADER,
    DECISION_CUTS,
    DECISION_HEADER,
    DECISION_METADATA,
    DECISION_MODEL,
    DECISION_MODEL_AT,
    DECISION_MODEL_LENGTH,
    DECISION_PROVIDER_OBJECT_CUTS,
    DECISION_REASON,
    DECISION_SAVE_CACHE_S,
    DECISION_WAIT_MS,
    DECISION_WHY,
    DETAILS_PREFIX,
    HEAD_ROUTE,
    RECORD_METADATA,
    RECORD_TEXT,
    ROUTE_GROUPS,
    ROUTE_KEY,
    ROUTE_METADATA,
    ROUTE_TRIES,
    route_key,
)
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.envoy.wire import metadata_of
from limpet_extproc.request.edits import Edits
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.routing import Routing, Tries

CONTINUE_HEADERS: Final = bytes(pb.ProcessingResponse(request_headers=pb.HeadersResponse()).SerializeToString())
CONTINUE_BODY: Final = bytes(pb.ProcessingResponse(request_body=pb.BodyResponse()).SerializeToString())

_MAX_CACHED: Final = 10_000
"""Parts of each kind that are cached; a bound for gateways with very many providers or models."""


def _body_response(mutation: pb.HeaderMutation) -> bytes:
    # clear_route_cache counts only with a header_mutation beside it, an empty one will do.
    response = pb.CommonResponse(clear_route_cache=True, header_mutation=mutation)
    return bytes(pb.ProcessingResponse(request_body=pb.BodyResponse(response=response)).SerializeToString())


_ROUTED: Final = _body_response(pb.HeaderMutation())
_RECORD: Final = metadata_of(RECORD_METADATA, RECORD_TEXT)


class Responses:
    """Builds the responses of one worker."""

    def __init__(self) -> None:
        self._routes: dict[tuple[tuple[str, ...], str, Tries], bytes] = {}
        self._decisions: dict[tuple[str, str, float | None, float], bytes] = {}

    def routed(self, routing: Routing, head: RequestHead, *, by_header: bool) -> bytes:
        """Go on, by this routing. `by_header`: the gateway takes one cluster from a header, and no order."""
        record = routing.record
        noted = self._decision(routing) + _RECORD(records.encode(record))
        if by_header:
            return _chosen_by_header(routing.decision.order[0]) + noted
        return _ROUTED + self._route(routing.decision.order, head.headers.get(HEAD_ROUTE, ""), routing.tries) + noted

    def _decision(self, routing: Routing) -> bytes:
        """Reason and edits. Without edits and failures they are the same for all requests of a model."""
        if routing.edits is not None or routing.why:
            return _decision(routing)
        tries = routing.tries
        key = routing.decision.reason, routing.record.model, tries.wait_s, tries.save_cache_s
        built = self._decisions.get(key)
        if built is None:
            if len(self._decisions) >= _MAX_CACHED:
                self._decisions.clear()
            built = self._decisions[key] = _decision(routing)
        return built

    def _route(self, order: tuple[str, ...], route_knows: str, tries: Tries) -> bytes:
        key = order, route_knows, tries
        built = self._routes.get(key)
        if built is None:
            if len(self._routes) >= _MAX_CACHED:
                self._routes.clear()
            built = self._routes[key] = _route(order, route_knows.split(" "), tries)
        return built


def refused(refusal: Refusal, body: bytes) -> bytes:
    """The end of the request. `body` is the refusal in the client's dialect."""
    immediate = pb.ImmediateResponse(body=body, details=DETAILS_PREFIX + refusal.reason)
    immediate.status.code = refusal.status
    for key, value in (("content-type", "application/json"), (DECISION_HEADER, refusal.reason)):
        immediate.headers.set_headers.add(header=base_pb2.HeaderValue(key=key, raw_value=value.encode()))
    return bytes(pb.ProcessingResponse(immediate_response=immediate).SerializeToString())


def _metadata(namespace: str, values: Mapping[str, Any]) -> bytes:
    metadata = struct_pb2.Struct()
    metadata.fields[namespace].struct_value.update(values)
    return bytes(pb.ProcessingResponse(dynamic_metadata=metadata).SerializeToString())


def _route(order: tuple[str, ...], route_knows: Collection[str], tries: Tries) -> bytes:
    """Each provider is its own group with its own cluster; those that the route has not are described.

    A name alone is a third of the work for Envoy, which copies all of this into its access log too. The first stands
    there as often as it may be tried; the Lua of the clusters sees to it for the others, and goes on after an answer.
    """
    groups = [
        {"name": name} if name in route_knows else {"name": name, "clusters": [{"cluster_name": name, "weight": 1}]}
        for name in (*order[:1] * tries.each, *order[1:])
    ]
    # Where each is tried once, waiting for the first must not cost the last its attempt.
    attempts = len(order) * tries.each + (tries.each == 1 and tries.save_cache_s > 0)
    route = route_key(attempts, tries.stream, tries.wait_level)
    return _metadata(ROUTE_METADATA, {ROUTE_GROUPS: groups, ROUTE_TRIES: tries.each, ROUTE_KEY: route})


def _decision(routing: Routing) -> bytes:
    metadata = struct_pb2.Struct()
    decision = metadata.fields[DECISION_METADATA].struct_value
    decision.fields[DECISION_REASON].string_value = routing.decision.reason
    if routing.why:
        decision.fields[DECISION_WHY].string_value = routing.why
    decision.fields[DECISION_MODEL].string_value = routing.record.model
    if routing.tries.wait_s is not None:
        decision.fields[DECISION_WAIT_MS].number_value = routing.tries.wait_s * 1000
    if routing.tries.save_cache_s > 0:
        decision.fields[DECISION_SAVE_CACHE_S].number_value = routing.tries.save_cache_s
    if routing.edits is not None:
        _add_edits(decision, routing.edits)
    return bytes(pb.ProcessingResponse(dynamic_metadata=metadata).SerializeToString())


def _add_edits(struct: struct_pb2.Struct, edits: Edits) -> None:
    struct.fields[DECISION_MODEL_AT].number_value = edits.model_span.offset
    struct.fields[DECISION_MODEL_LENGTH].number_value = edits.model_span.length
    if edits.cuts:
        struct.update({DECISION_CUTS: [[cut.offset, cut.length] for cut in edits.cuts]})
    if edits.provider_object_cuts is not None:
        struct.update({DECISION_PROVIDER_OBJECT_CUTS: [[cut.offset, cut.length] for cut in edits.provider_object_cuts]})


def _chosen_by_header(cluster: str) -> bytes:
    header = base_pb2.HeaderValue(key=CLUSTER_HEADER, raw_value=cluster.encode())
    overwrite = base_pb2.HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
    option = base_pb2.HeaderValueOption(header=header, append_action=overwrite)
    return _body_response(pb.HeaderMutation(set_headers=[option]))
