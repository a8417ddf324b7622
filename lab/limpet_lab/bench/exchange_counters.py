"""What Envoy counted of its calls to ext_proc, and which of that must not be."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from limpet_operator.laptop.keeper import ask
from limpet_operator.publish.envoy_settings import EXTPROC_CLUSTER

_CLUSTER: Final = f"cluster.{EXTPROC_CLUSTER}."
_LINE: Final = re.compile(r"(?P<name>\S+): (?P<value>\d+)")
_OF_FILTER: Final = re.compile(r"http\.[^.]+\.(?P<name>ext_proc\..*)")

ERRORS: Final = (
    # The worker's frames were wrong in Envoy's eyes.
    "http2.rx_messaging_error",
    "http2.header_overflow",
    "http2.headers_cb_no_stream",
    "http2.inbound_empty_frames_flood",
    "http2.inbound_priority_frames_flood",
    "http2.inbound_window_update_frames_flood",
    "upstream_cx_protocol_error",
    # The worker left too much unread.
    "http2.outbound_flood",
    "http2.outbound_control_flood",
    "upstream_cx_destroy_local_with_active_rq",
    # Envoy's were in the worker's: it reset a call, or hung up.
    "http2.rx_reset",
    "http2.stream_refused_errors",
    "upstream_rq_rx_reset",
    "upstream_cx_destroy_remote",
    "upstream_cx_destroy_remote_with_active_rq",
    "upstream_cx_connect_fail",
    "upstream_rq_timeout",
    "upstream_rq_pending_failure_eject",
    # Calls that came to nothing.
    "ext_proc.streams_failed",
    "ext_proc.failure_mode_allowed",
    "ext_proc.message_timeouts",
    "ext_proc.spurious_msgs_received",
    "ext_proc.rejected_header_mutations",
    "ext_proc.http_not_ok_resp_received",
)
"""Counters that stay where they are; one that this Envoy does not have counts as 0."""

CALLS: Final = "upstream_rq_total"
STREAMS: Final = "http2.streams_active"
"""A gauge: calls that are under way, one of them for the outcomes of each of Envoy's threads."""


def broken_off(counted: Mapping[str, int]) -> int:
    """Calls that Envoy reset before their answers, as their clients had hung up.

    It resets each call once it is answered, as the worker waits for no more, so its counters of resets do not tell.
    """
    return counted.get("ext_proc.stream_msgs_sent", 0) - counted.get("ext_proc.stream_msgs_received", 0)


async def counters(admin_socket: Path) -> dict[str, int]:
    """Counters and gauges of the cluster and of the filter, by name without prefix. Raises OSError if Envoy is away."""
    page = await ask(admin_socket, f"/stats?filter=^{_CLUSTER.replace('.', '[.]')}|[.]ext_proc[.]")
    if page is None:
        raise OSError(f"Envoy does not answer on {admin_socket}")
    return read(page.decode())


def read(page: str) -> dict[str, int]:
    """The same, from the text of Envoy's page; what is no number is left out."""
    found: dict[str, int] = {}
    for line in page.splitlines():
        if (stat := _LINE.fullmatch(line)) is None:
            continue
        name = stat["name"]
        if name.startswith(_CLUSTER):
            found[name.removeprefix(_CLUSTER)] = int(stat["value"])
        elif of_filter := _OF_FILTER.fullmatch(name):
            # One filter of several listeners counts in each.
            found[of_filter["name"]] = found.get(of_filter["name"], 0) + int(stat["value"])
    return found


def more(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """By how much each has grown."""
    return {name: value - before.get(name, 0) for name, value in after.items()}
