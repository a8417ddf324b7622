"""One entry of Envoy's access log, read: why the request went where it went, and what its attempts came to. Pure."""

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from math import isfinite
from types import MappingProxyType
from typing import Any, Final, TypeAlias

import msgspec
from envoy.config.core.v3.base_pb2 import RequestMethod
from envoy.data.accesslog.v3 import accesslog_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import StringValue

from limpet_extproc.contract import record as records
from limpet_extproc.contract.attempt import Attempt, Cause
from limpet_extproc.contract.envoy import (
    DECISION_HEADER,
    DECISION_METADATA,
    DECISION_REASON,
    DETAILS_PREFIX,
    OBJECT_ID,
    OBJECT_IDS,
    OBJECT_METADATA,
    PATH_STATE,
    RECORD_METADATA,
    RECORD_TEXT,
    TRAIL_FIRST_TOKEN_MS,
    TRAIL_METADATA,
    TRAIL_TIMEOUT,
    TRAIL_WAITED,
    USAGE_METADATA,
)
from limpet_extproc.contract.record import Record
from limpet_extproc.decision.cause import CacheFinding
from limpet_extproc.decision.slowness import Timing, work_tokens
from limpet_extproc.envoy import trail
from limpet_extproc.envoy import usage as usages
from limpet_extproc.envoy.decision_line import RequestSummary
from limpet_extproc.envoy.log_messages import Common, Entry
from limpet_extproc.envoy.noted import Noted, fields, only_text
from limpet_extproc.envoy.usage import TokenUsage

_BY_FLAG: Final[tuple[tuple[str, Cause], ...]] = (
    ("upstream_request_timeout", "Timeout"),
    ("stream_idle_timeout", "Timeout"),
    ("failed_local_healthcheck", "Unreachable"),
    ("no_healthy_upstream", "Unreachable"),
    ("upstream_remote_reset", "ConnectionFailed"),
    ("upstream_connection_failure", "ConnectionFailed"),
    ("upstream_connection_termination", "ConnectionFailed"),
    ("upstream_protocol_error", "ConnectionFailed"),
    ("upstream_max_stream_duration_reached", "Timeout"),
)

_OF_THE_PROVIDER: Final[Mapping[int, Cause]] = {
    401: "CredentialRefused",
    402: "NoCredit",
    403: "Forbidden",
    429: "Limited",
}
"""What is the provider's fault and not the request's, as far as a status alone tells."""

_NOWHERE: Final = ("127.0.0.1", 0)
"""Where a cluster sends what it has no address for."""

_CLIENT_BUFFER_BYTES: Final = 256 * 1024
"""Envoy takes at least this from a provider for a client that does not read: by HTTP/2 as much as the listener's
`initial_stream_window_size`, by HTTP/1.1 more. An answer that stalls after it may stall because of the client."""


_LONGEST_KEPT: Final = 150
"""Bytes of a path that many requests may have, with the name of its type before it."""

TrailFields: TypeAlias = Mapping[str, Any]
"""Of what the attempts left, the `google.protobuf.Value` by name."""

NOTHING_LEFT: Final[TrailFields] = MappingProxyType({})

UNDER_WAY: Final = accesslog_pb2.AccessLogType.DownstreamPeriodic
"""The type of an entry of a request that goes on."""


class EntryTimes(msgspec.Struct, frozen=True, gc=False):
    """When what happened, in seconds after the request had begun to come; None: it has not, or is not known."""

    ended_s: float
    sent_s: float | None
    """The first byte went to the provider that was tried last; the next two are when its first and its last came."""
    came_s: float
    came_whole_s: float | None
    first_byte_s: float | None
    """The first byte went to the client."""
    first_token_later_s: float
    """How much later than its first byte the answer's first token came, where it is streamed; 0: no later."""


def noted_in(common: Common) -> Noted:
    """What the filters noted about the request."""
    noted: Noted = common.metadata.filter_metadata
    return noted


def trail_in(noted: Noted) -> TrailFields:
    """What the attempts left; mostly nothing, but for the time of a stream's first token."""
    left = noted.get(TRAIL_METADATA)
    return fields(left) if left else NOTHING_LEFT


def times_of(common: Common, left: TrailFields, *, streamed: bool) -> EntryTimes:
    """The times of an entry."""
    later_s = 0.0
    if streamed and TRAIL_FIRST_TOKEN_MS in left:
        later_ms = left[TRAIL_FIRST_TOKEN_MS].number_value
        later_s = later_ms / 1000 if isfinite(later_ms) and later_ms > 0 else 0.0
    # An absent one is as long as nothing, which nothing takes.
    ended, came, whole = common.duration, common.time_to_first_upstream_rx_byte, common.time_to_last_upstream_rx_byte
    sent, first = common.time_to_first_upstream_tx_byte, common.time_to_first_downstream_tx_byte
    return EntryTimes(
        ended.seconds + ended.nanos / 1e9,
        sent.seconds + sent.nanos / 1e9 or None,
        came.seconds + came.nanos / 1e9,
        whole.seconds + whole.nanos / 1e9 or None,
        first.seconds + first.nanos / 1e9 or None,
        later_s,
    )


def ended_at_s(common: Common) -> float | None:
    """When the request ended, as Unix time by Envoy's clock, or was when it had an entry before its end.

    None: the entry does not say.
    """
    if not common.HasField("start_time"):
        return None
    return in_seconds(common.start_time) + in_seconds(common.duration)


_record_text: Final = only_text(RECORD_TEXT)


def record_of(noted: Noted) -> Record | None:
    """The record of the decision; None if there was none, or another version wrote it."""
    carried = noted.get(RECORD_METADATA)
    return records.decode(_record_text(carried)) if carried else None


def reason_of(entry: Entry, noted: Noted, record: Record | None) -> str:
    """Why the request went where it went: the decision's reason, or that of a refusal, of ext_proc's or of Envoy's."""
    details: str = entry.response.response_code_details
    if details.startswith(DETAILS_PREFIX):
        return details[len(DETAILS_PREFIX) :].partition(":")[0]
    if record is not None:
        return record.reason
    said: str = entry.response.response_headers.get(DECISION_HEADER, "")
    decision = {} if said else fields(noted.get(DECISION_METADATA))
    return str(decision[DECISION_REASON].string_value) if DECISION_REASON in decision else said


def asked_path(entry: Entry) -> str:
    """As the client wrote it, with its query: where a request was sent on, the provider's has taken its place."""
    written: bytes | None = entry.common_properties.filter_state_objects.get(PATH_STATE)
    if written is None:
        path: str = entry.request.path
        return path
    return _path_in(written) if len(written) > _LONGEST_KEPT or b"?" in written else _kept_path_in(written)


def _path_in(written: bytes) -> str:
    """In the bytes of a `google.protobuf.Any`."""
    path: str = StringValue.FromString(AnyMessage.FromString(written).value).value
    return path


_kept_path_in: Final = lru_cache(maxsize=256)(_path_in)
"""Nearly all requests have one of a few paths. What clients add to one is kept nowhere."""


def summary(
    entry: Entry,
    reason: str,
    record: Record | None = None,
    attempts: tuple[Attempt, ...] = (),
    usage: TokenUsage | None = None,
    finding: CacheFinding | None = None,
) -> RequestSummary:
    """What became of the request, for the line about it."""
    method = RequestMethod.Name(entry.request.request_method) if entry.request.request_method else ""
    status, duration_s = entry.response.response_code.value, in_seconds(entry.common_properties.duration)
    field, model, _ = refused_for(entry)
    path = asked_path(entry)
    return RequestSummary(reason, status, duration_s, record, attempts, usage, method, path, field, model, finding)


def refused_for(entry: Entry) -> tuple[str, str, str]:
    """Field or limit, model and client of a refusal by ext_proc, as far as it names them."""
    details: str = entry.response.response_code_details
    if not details.startswith(DETAILS_PREFIX):
        return "", "", ""
    _, field, model, client = f"{details}:::".split(":", 3)
    return field, model, client.rstrip(":")


def attempts_of(
    entry: Entry, left: TrailFields, record: Record | None, now_s: float, *, read: bool = True
) -> tuple[tuple[Attempt, ...], dict[str, float]]:
    """All attempts of the request, and by provider the seconds that it asked to wait for its limit.

    `left` is what they left (`trail_in`).
    `read`: what is wrong with an answer has been noted, so what has no note is not the provider's fault.
    """
    common = entry.common_properties
    last = last_attempt(entry, read=read)
    notes = trail.notes_of(left) if left else {}
    if not notes and TRAIL_TIMEOUT not in left and common.upstream_request_attempt_count <= 1:
        if not last.provider:
            return (), {}
        model = record.model if record else ""
        return (Attempt(last.provider, model, last.status, last.outcome, last.cause),), {}
    waits = {
        number: seconds
        for number, note in notes.items()
        if note.cause in trail.LIMITS and (seconds := retry_after_s(note.retry_after, now_s)) is not None
    }
    course = trail.Course(
        order=record.order if record else (),
        tries=record.tries if record else 1,
        model=record.model if record else "",
        attempt_count=common.upstream_request_attempt_count,
        notes=notes,
        timed_out=left[TRAIL_TIMEOUT].bool_value if TRAIL_TIMEOUT in left else False,
        waited=int(left[TRAIL_WAITED].number_value) if TRAIL_WAITED in left else 0,
    )
    return trail.attempts(course, last), {notes[number].provider: seconds for number, seconds in waits.items()}


def last_attempt(entry: Entry, *, read: bool = True) -> trail.LastAttempt:
    """How the last attempt ended, by its status and Envoy's flags alone. `read` is that of `attempts_of`."""
    status, common = entry.response.response_code.value, entry.common_properties
    flagged = None
    if common.HasField("response_flags"):  # nearly all have none
        flags = common.response_flags
        flagged = next((cause for flag, cause in _BY_FLAG if getattr(flags, flag)), None)
    # A refusal of our own has no host and is not an attempt; an attempt that reached no host has a flag.
    provider = common.upstream_cluster if common.HasField("upstream_remote_address") or flagged else ""
    if flagged is not None:
        begun = status == 200
        if begun and flagged == "Timeout" and entry.response.response_body_bytes >= _CLIENT_BUFFER_BYTES:
            return trail.LastAttempt(provider, status, "client_left")
        cause = "BrokenOff" if begun else _named(flagged, common)
        return trail.LastAttempt(provider, status if begun else 0, "failed", cause)
    if status == 0:
        return trail.LastAttempt(provider, 0, "client_left")
    if status >= 500:
        return trail.LastAttempt(provider, status, "failed", "ServerError")
    if status in (200, 201):
        return trail.LastAttempt(provider, status, "ok")
    if status >= 400:
        theirs = None if read else _OF_THE_PROVIDER.get(status)
        if theirs is None:
            return trail.LastAttempt(provider, status, "refused", "BadRequest")
        return trail.LastAttempt(provider, status, "limited" if theirs in trail.LIMITS else "failed", theirs)
    return trail.LastAttempt(provider, status, "failed", "Redirected" if status >= 300 else "NotAnAnswer")


def client_left(common: Common) -> bool:
    """Whether the client went before all of the answer was sent."""
    flags = common.response_flags
    return bool(flags.downstream_connection_termination or flags.downstream_remote_reset)


def _named(flagged: Cause, common: Common) -> Cause:
    """The same by its name, where Envoy says more than its flag."""
    reason = common.upstream_transport_failure_reason
    if "TLS_error" in reason:
        return "TLSFailed"
    address = common.upstream_remote_address.socket_address
    if (address.address, address.port_value) == _NOWHERE:
        return "NameNotResolved"
    return "ConnectionRefused" if "connection refused" in reason.lower() else flagged


def retry_after_s(text: str, now_s: float) -> float | None:
    """Seconds from now that `retry-after` asks for, in either of its two forms.

    None if it is neither, and for a moment that is past: then it says nothing about when to come back.
    """
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now_s
        except (ValueError, OverflowError, OSError, TypeError, IndexError):
            return None
    return seconds if isfinite(seconds) and seconds > 0 else None


def timing(times: EntryTimes, sent_bytes: int, record: Record | None, usage: TokenUsage | None) -> Timing | None:
    """How long the attempt that answered took, which sent so much to the client; None where it cannot be told.

    A stream begins with the first token of its completion: some vendors send comments or an empty event before it.
    """
    asked_s = times.sent_s or 0.0
    begun_s = times.came_s - asked_s
    if record is None or begun_s <= 0:
        return None
    known = usage is not None and usage.cached is not None
    if usage is None:
        work = record.prompt_tokens
    else:
        work = work_tokens(usage.prompt, usage.cached, usage.output, streamed=record.streamed)
    # Beyond it a client that reads slowly holds the provider up.
    in_time = sent_bytes < _CLIENT_BUFFER_BYTES
    ended_s = max(answered_s(times), begun_s)
    if not record.streamed:
        return Timing(ended_s, work, known=known) if in_time else None
    begun_s += times.first_token_later_s
    return Timing(begun_s, work, max(0.0, ended_s - begun_s), sent_bytes if in_time else 0, known)


def answered_s(times: EntryTimes) -> float:
    """From the first byte sent to the provider to the last one back, in the attempt that answered."""
    return (times.came_whole_s or 0.0) - (times.sent_s or 0.0)


def client_waited_s(times: EntryTimes) -> float:
    """From the request to the first byte of the answer, or its first token where it is streamed."""
    return min((times.first_byte_s or 0.0) + times.first_token_later_s, times.ended_s)


def in_seconds(duration: Any) -> float:
    """A duration of an entry, or a time."""
    found: float = duration.seconds + duration.nanos / 1e9
    return found


def usage_of(noted: Noted) -> TokenUsage | None:
    """The tokens that the provider reported, if it did."""
    reported = noted.get(USAGE_METADATA)
    return None if reported is None else usages.read(reported)


def objects_of(noted: Noted) -> tuple[str, ...]:
    """The ids of what the answer made and the provider keeps."""
    made = fields(noted.get(OBJECT_METADATA))
    first = made[OBJECT_ID].string_value if OBJECT_ID in made else ""
    more = made[OBJECT_IDS].list_value.values if OBJECT_IDS in made else ()
    return tuple(dict.fromkeys(each for each in (first, *(one.string_value for one in more)) if each))
