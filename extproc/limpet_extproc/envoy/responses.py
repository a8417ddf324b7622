"""Envoy's ext_proc responses, as bytes.

Parts that only depend on the order are built once and joined, since protobuf messages concatenate.
"""

import re
from collections.abc import Collection
from functools import lru_cache
from typing import Final, NamedTuple

from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from limpet_extproc.contract import record as records
from limpet_extproc.contract.apis import DialectName
from limpet_extproc.contract.envoy import (
    CLUSTER_HEADER,
    DECISION_AFFINITY,
    DECISION_API,
    DECISION_CACHE,
    DECISION_CLIENT,
    DECISION_COST,
    DECISION_EDITS,
    DECISION_EXPLANATION,
    DECISION_HEADER,
    DECISION_HIDE_USAGE,
    DECISION_METADATA,
    DECISION_MODEL,
    DECISION_REASON,
    DECISION_SAVE_CACHE_S,
    DECISION_TELLS_EARLY,
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
from limpet_extproc.contract.reasons import EXPLAINED
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.envoy import struct_wire
from limpet_extproc.envoy.struct_wire import entry
from limpet_extproc.request.edits import Edits
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.routing import Routing, Tries
from limpet_extproc.request.shown_costs import ShownCost
from limpet_extproc.request.splices import Splices

CONTINUE_HEADERS: Final = bytes(pb.ProcessingResponse(request_headers=pb.HeadersResponse()).SerializeToString())
CONTINUE_BODY: Final = bytes(pb.ProcessingResponse(request_body=pb.BodyResponse()).SerializeToString())

_USUAL_API: Final[DialectName] = "OpenAIChat"
"""That need not be told."""

_MAX_CACHED: Final = 10_000
"""Parts of each kind that are cached; a bound for gateways with very many providers or models."""


def _response(mutation: pb.HeaderMutation, *, of_headers: bool) -> bytes:
    # clear_route_cache counts only with a header_mutation beside it, an empty one will do.
    response = pb.CommonResponse(clear_route_cache=True, header_mutation=mutation)
    if of_headers:
        return bytes(pb.ProcessingResponse(request_headers=pb.HeadersResponse(response=response)).SerializeToString())
    return bytes(pb.ProcessingResponse(request_body=pb.BodyResponse(response=response)).SerializeToString())


_CHECKED: Final = entry(DECISION_CLIENT, struct_wire.TRUE)
ADMITTED_HEADERS: Final = CONTINUE_HEADERS + struct_wire.metadata(DECISION_METADATA, _CHECKED)
"""Go on with a request that Envoy answers itself: its client's key has been checked."""

_ROUTED: Final = _response(pb.HeaderMutation(), of_headers=False)
_HIDE_USAGE: Final = entry(DECISION_HIDE_USAGE, struct_wire.TRUE)
_RECORD: Final = struct_wire.text_metadata(RECORD_METADATA, RECORD_TEXT)
_ROUTED_BY_HEADERS: Final = _response(pb.HeaderMutation(), of_headers=True)


class _Built(NamedTuple):
    """A decision without what is the request's own."""

    written: bytes
    entries: bytes
    hiding: bytes
    """The same for a request whose client does not get the usage."""


class Responses:
    """Builds the responses of one worker."""

    def __init__(self) -> None:
        self._routes: dict[tuple[tuple[str, ...], str, Tries], bytes] = {}
        self._decisions: dict[tuple[str, str, str, float | None, float, bool], _Built] = {}

    def routed(self, routing: Routing, head: RequestHead, *, of_headers: bool = False) -> bytes:
        """Go on, by this routing. `of_headers`: it is the answer to a request's headers, as it has no body."""
        begin = _ROUTED_BY_HEADERS if of_headers else _ROUTED
        route = self._route(routing.decision.order, head.headers.get(HEAD_ROUTE, ""), routing.tries)
        return begin + route + self._noted(routing)

    def at_cluster(self, routing: Routing, cluster: str | None, *, of_headers: bool) -> bytes:
        """The same for an Envoy that takes one cluster from a header, and no order.

        None: the provider is not to be reached there, and the request goes where those go that are not decided.
        """
        return _chosen_by_header(cluster, of_headers) + self._noted(routing)

    def _noted(self, routing: Routing) -> bytes:
        return self._decision(routing) + _RECORD(records.encode(routing.record))

    def _decision(self, routing: Routing) -> bytes:
        """Without failures and what is the request's own, it is the same for all requests of a model."""
        edits = routing.edits
        if routing.why:
            return struct_wire.metadata(DECISION_METADATA, _decision(routing) + _own(routing))
        tries, record = routing.tries, routing.record
        checked = bool(record.client)
        key = routing.decision.reason, record.api, record.model, tries.wait_s, tries.save_cache_s, checked
        built = self._decisions.get(key)
        if built is None:
            if len(self._decisions) >= _MAX_CACHED:
                self._decisions.clear()
            entries = _decision(routing)
            written = struct_wire.metadata(DECISION_METADATA, entries)
            built = self._decisions[key] = _Built(written, entries, entries + _HIDE_USAGE)
        own = routing.affinities or routing.last_read or routing.costs or routing.tells_early or routing.explanation
        if own or (edits is not None and edits.own):
            return struct_wire.metadata(DECISION_METADATA, built.entries + _own(routing))
        if edits is None:
            return built.written
        splices = _splices(edits.common)
        return _before_splices(built.hiding if edits.hides_usage else built.entries, len(splices)) + splices

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
    return _answered(refusal.status, refusal.reason, body, _details(refusal), refusal.retry_after_s)


def answered(body: bytes) -> bytes:
    """The same of a request that asked for nothing but this explanation."""
    return _answered(200, EXPLAINED, body, DETAILS_PREFIX + EXPLAINED)


def _answered(status: int, reason: str, body: bytes, details: str, retry_after_s: int | None = None) -> bytes:
    immediate = pb.ImmediateResponse(body=body, details=details)
    immediate.status.code = status
    for key, value in (("content-type", "application/json"), (DECISION_HEADER, reason)):
        immediate.headers.set_headers.add(header=base_pb2.HeaderValue(key=key, raw_value=value.encode()))
    if retry_after_s is not None:
        wait = base_pb2.HeaderValue(key="retry-after", raw_value=str(retry_after_s).encode())
        immediate.headers.set_headers.add(header=wait)
    return bytes(pb.ProcessingResponse(immediate_response=immediate).SerializeToString())


def _details(refusal: Refusal) -> str:
    """For the access log: reason, field or limit, model, and the client where its key is the reason.

    A client wrote the field and the model.
    """
    told = (refusal.param or refusal.limit, refusal.model, refusal.client)
    parts = ":".join(_UNPRINTABLE.sub("?", text[:_MOST_TOLD]) for text in told).rstrip(":")
    return f"{DETAILS_PREFIX}{refusal.reason}:{parts}" if parts else DETAILS_PREFIX + refusal.reason


_MOST_TOLD: Final = 80
_UNPRINTABLE: Final = re.compile(r"[^!-9;-~]")


def _route(order: tuple[str, ...], route_knows: Collection[str], tries: Tries) -> bytes:
    """Each provider is its own group with its own cluster; those that the route has not are described.

    A name alone is a third of the work for Envoy, which copies all of this into its access log too. The first stands
    there as often as it may be tried; the Lua of the clusters sees to it for the others, and goes on after an answer.
    """
    # Each of many providers makes its own part of countless orders.
    named = [_group(name, name in route_knows) for name in order]
    groups = b"".join((*named[:1] * tries.each, *named[1:]))
    # Where each is tried once, waiting for the first must not cost the last its attempt.
    attempts = len(order) * tries.each + (tries.each == 1 and tries.save_cache_s > 0)
    route = route_key(attempts, tries.stream, tries.wait_level)
    entries = entry(ROUTE_GROUPS, struct_wire.array(groups))
    entries += entry(ROUTE_TRIES, struct_wire.number(tries.each)) + entry(ROUTE_KEY, struct_wire.text(route))
    return struct_wire.metadata(ROUTE_METADATA, entries)


@lru_cache(maxsize=_MAX_CACHED)
def _group(name: str, known: bool) -> bytes:
    """An element of the list of groups."""
    group = entry("name", struct_wire.text(name)) + (b"" if known else _clusters(name))
    return struct_wire.items([struct_wire.table(group)])


def _clusters(name: str) -> bytes:
    cluster = entry("cluster_name", struct_wire.text(name)) + entry("weight", struct_wire.number(1))
    return entry("clusters", struct_wire.array(struct_wire.items([struct_wire.table(cluster)])))


def _decision(routing: Routing) -> bytes:
    entries = entry(DECISION_REASON, struct_wire.text(routing.decision.reason))
    if routing.why:
        entries += entry(DECISION_WHY, struct_wire.text(routing.why))
    entries += entry(DECISION_MODEL, struct_wire.text(routing.record.model))
    if routing.record.client:
        entries += _CHECKED
    if routing.record.api != _USUAL_API:
        entries += entry(DECISION_API, struct_wire.text(routing.record.api))
    if routing.tries.wait_s is not None:
        entries += entry(DECISION_WAIT_MS, struct_wire.number(routing.tries.wait_s * 1000))
    if routing.tries.save_cache_s > 0:
        entries += entry(DECISION_SAVE_CACHE_S, struct_wire.number(routing.tries.save_cache_s))
    return entries


def _own(routing: Routing) -> bytes:
    entries = b"" if routing.edits is None else _edits(routing.edits)
    if routing.tells_early:
        entries += entry(DECISION_TELLS_EARLY, struct_wire.TRUE)
    if routing.explanation:
        entries += entry(DECISION_EXPLANATION, struct_wire.text(routing.explanation))
    if routing.last_read:
        entries += entry(DECISION_CACHE, struct_wire.text(routing.last_read))
    if routing.costs:
        lists = b"".join([entry(each.provider, _cost(each)) for each in routing.costs])
        entries += entry(DECISION_COST, struct_wire.table(lists))
    if not routing.affinities:
        return entries
    names = b"".join([entry(provider, struct_wire.text(name)) for provider, name in routing.affinities])
    return entries + entry(DECISION_AFFINITY, struct_wire.table(names))


def _cost(cost: ShownCost) -> bytes:
    numbers = (cost.expected_usd, *(number for rates in cost.rates for number in rates))
    return struct_wire.array(struct_wire.items([struct_wire.number(each) for each in numbers]))


def _edits(edits: Edits) -> bytes:
    lists = entry("", struct_wire.array(_splices(edits.common)))
    for provider, splices in edits.own:
        lists += entry(provider, struct_wire.array(_splices(splices)))
    written = entry(DECISION_EDITS, struct_wire.table(lists))
    return written + _HIDE_USAGE if edits.hides_usage else written


@lru_cache(maxsize=_MAX_CACHED)
def _before_splices(entries: bytes, size: int) -> bytes:
    """A decision up to the splices that end it, the same for all providers: only their size matters."""
    lists = entry("", struct_wire.array(bytes(size)))
    written = struct_wire.metadata(DECISION_METADATA, entries + entry(DECISION_EDITS, struct_wire.table(lists)))
    return written[: len(written) - size]


def _splices(splices: Splices) -> bytes:
    return struct_wire.items(
        [
            struct_wire.splice(offset, length, struct_wire.TRUE if text is True else struct_wire.text(text))
            for offset, length, text in splices
        ]
    )


def _chosen_by_header(cluster: str | None, of_headers: bool) -> bytes:
    if cluster is None:
        return _response(pb.HeaderMutation(remove_headers=[CLUSTER_HEADER]), of_headers=of_headers)
    header = base_pb2.HeaderValue(key=CLUSTER_HEADER, raw_value=cluster.encode())
    overwrite = base_pb2.HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
    option = base_pb2.HeaderValueOption(header=header, append_action=overwrite)
    return _response(pb.HeaderMutation(set_headers=[option]), of_headers=of_headers)
