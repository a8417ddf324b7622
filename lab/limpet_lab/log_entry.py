"""What Envoy's access log says of a request that has ended, for workers without Envoy."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2

from limpet_extproc.contract import record as records
from limpet_extproc.contract.envoy import (
    RECORD_METADATA,
    RECORD_TEXT,
    TRAIL_CAUSE,
    TRAIL_METADATA,
    TRAIL_OUTCOME,
    TRAIL_PROVIDER,
    TRAIL_STATUS,
    USAGE_METADATA,
    USAGE_TOKENS,
)
from limpet_extproc.contract.record import Record

_AN_ADDRESS = "192.0.2.1"
"""Of the provider that answered; which one does not matter."""


class FailedTry(NamedTuple):
    """An attempt that failed, with the status of its answer."""

    provider: str
    status: int
    cause: str


class OneEntry:
    """A log stream of one entry."""

    def __init__(self) -> None:
        self._message = als_pb2.StreamAccessLogsMessage()
        self._read = False
        self.entry: accesslog_pb2.HTTPAccessLogEntry = self._message.http_logs.log_entry.add()

    async def read(self) -> object:
        """The message, then the end."""
        if self._read:
            return None
        self._read = True
        return self._message.SerializeToString()

    def unread(self) -> Sequence[bytes]:
        """Nothing more: it is never cancelled in between."""
        return ()


def log_of_request(
    record: Record | None, failures: Sequence[FailedTry], provider: str = "", usage: Mapping[str, float] | None = None
) -> OneEntry:
    """The log of a request that failed at these providers, and was then answered by `provider`; empty: by none.

    `usage`: the tokens of the answer, by the words of `contract.envoy`. Times are for the caller to add to `entry`.
    """
    log = OneEntry()
    common = log.entry.common_properties
    common.upstream_cluster = provider or failures[-1].provider
    common.upstream_remote_address.socket_address.address = _AN_ADDRESS
    common.upstream_request_attempt_count = len(failures) + bool(provider)
    log.entry.response.response_code.value = 200 if provider else failures[-1].status
    noted = common.metadata.filter_metadata
    if record is not None:
        noted[RECORD_METADATA].fields[RECORD_TEXT].string_value = records.encode(record)
    for number, failure in enumerate(failures, 1):
        note = noted[TRAIL_METADATA].fields[str(number)].struct_value.fields
        note[TRAIL_PROVIDER].string_value = failure.provider
        note[TRAIL_STATUS].string_value = str(failure.status)
        note[TRAIL_OUTCOME].string_value = "failed"
        note[TRAIL_CAUSE].string_value = failure.cause
    if usage is not None:
        tokens = noted[USAGE_METADATA].fields[USAGE_TOKENS].struct_value.fields
        for name, value in usage.items():
            tokens[name].number_value = value
    return log
