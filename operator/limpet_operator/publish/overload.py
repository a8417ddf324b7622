"""What keeps an Envoy within its memory: clients that use the most of it are refused before any other notices.

A body is buffered whole until its provider has answered, so a few clients that send large ones and never end could fill
any machine. Envoy knows how much each HTTP/2 stream holds, and ends the largest. For HTTP/1 it does not: there it
closes any connection that sends while the heap is too full, which soon hits those that send much. Only if all that is
not enough does it refuse requests and connections from everyone.
"""

from typing import Final

from limpet_operator.publish.encode import Json, typed

HEAP_BYTES: Final = 2 * 1024 * 1024 * 1024
"""What Envoy may take on a machine of unknown size."""

MAX_CONNECTIONS: Final = 10_000
"""Of clients, to one Envoy; a silent one costs some kilobytes."""

_HEAP: Final = "envoy.resource_monitors.fixed_heap"

_SHRINK_AT: Final = 0.7
_ABORT_HTTP1_AT: Final = 0.7
"""Bodies that are complete by then are still copied on their way to ext_proc; at this share they fit."""
_RESET_HTTP2_FROM, _RESET_HTTP2_TO = 0.7, 0.9
"""At the first share the streams of the largest size class are ended, up to the second those of more and more."""
_NO_REQUESTS_AT: Final = 0.95
_NO_CONNECTIONS_AT: Final = 0.97

_LOOK_EVERY: Final = "0.02s"
"""HTTP/1 connections are closed for at least so long, so it is short; a fast client sends 20 MiB in this time."""
_COUNTED_FROM_POWER: Final = 20
"""A power of two: a stream that holds less than a mebibyte is never ended for its size."""


def overload_manager(heap_bytes: int | None, max_connections: int = MAX_CONNECTIONS) -> Json:
    """For Envoy's bootstrap. `heap_bytes` bounds its heap; None: no bound."""
    connections = {
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": typed(
            "resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
            max_active_downstream_connections=max_connections,
        ),
    }
    if heap_bytes is None:
        return {"resource_monitors": [connections]}
    heap = {
        "name": _HEAP,
        "typed_config": typed("resource_monitors.fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=heap_bytes),
    }
    reset = {"scaled": {"scaling_threshold": _RESET_HTTP2_FROM, "saturation_threshold": _RESET_HTTP2_TO}}
    return {
        "refresh_interval": _LOOK_EVERY,
        "resource_monitors": [heap, connections],
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": _COUNTED_FROM_POWER},
        "actions": [
            _when("envoy.overload_actions.shrink_heap", _at(_SHRINK_AT)),
            _when("envoy.overload_actions.reset_high_memory_stream", reset),
            _when("envoy.overload_actions.stop_accepting_requests", _at(_NO_REQUESTS_AT)),
            _when("envoy.overload_actions.stop_accepting_connections", _at(_NO_CONNECTIONS_AT)),
        ],
        "loadshed_points": [_when("envoy.load_shed_points.http1_server_abort_dispatch", _at(_ABORT_HTTP1_AT))],
    }


def _when(name: str, trigger: Json) -> Json:
    return {"name": name, "triggers": [{"name": _HEAP, **trigger}]}


def _at(share: float) -> Json:
    return {"threshold": {"value": share}}
