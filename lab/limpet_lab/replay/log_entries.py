"""What became of a request, as Envoy's access log would say it."""

from typing import Final

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
    USAGE_CACHED,
    USAGE_METADATA,
    USAGE_OUTPUT,
    USAGE_PROMPT,
    USAGE_TOKENS,
    USAGE_WRITTEN,
)
from limpet_extproc.contract.record import Record
from limpet_lab.replay.play import Tried
from limpet_lab.replay.requests import Ask

_BYTES_PER_OUTPUT_TOKEN: Final = 150
"""Of a streamed chunk, which holds one."""
_CAUSES: Final = {429: "Limited", 500: "ServerError", 503: "Overloaded"}
_SENT_S: Final = 0.001


class OneEntry:
    """A log stream of one message."""

    def __init__(self, message: bytes) -> None:
        self._messages = [message]

    async def read(self) -> object:
        """The message, then the end."""
        return self._messages.pop() if self._messages else None


def log_of(ask: Ask, record: Record, tried: Tried) -> OneEntry:
    """The entry of a request at its end."""
    message = als_pb2.StreamAccessLogsMessage()
    entry = message.http_logs.log_entry.add()
    common, served = entry.common_properties, tried.served
    common.upstream_cluster = served.provider if served else tried.failures[-1][0]
    common.upstream_remote_address.socket_address.address = "192.0.2.1"
    common.upstream_request_attempt_count = len(tried.failures) + (served is not None)
    noted = common.metadata.filter_metadata
    noted[RECORD_METADATA].fields[RECORD_TEXT].string_value = records.encode(record)
    _note_failures(entry, tried)
    if served is None:
        entry.response.response_code.value = tried.failures[-1][1]
        return OneEntry(message.SerializeToString())
    entry.response.response_code.value = 200
    entry.response.response_body_bytes = ask.output_tokens * _BYTES_PER_OUTPUT_TOKEN
    common.duration.FromMicroseconds(int(served.seconds * 1e6))
    common.time_to_first_upstream_tx_byte.FromMicroseconds(int(_SENT_S * 1e6))
    common.time_to_first_upstream_rx_byte.FromMicroseconds(int((_SENT_S + served.first_byte_s) * 1e6))
    common.time_to_last_upstream_rx_byte.FromMicroseconds(int((_SENT_S + served.seconds) * 1e6))
    usage = noted[USAGE_METADATA].fields[USAGE_TOKENS].struct_value.fields
    usage[USAGE_PROMPT].number_value = ask.prompt_tokens
    usage[USAGE_CACHED].number_value = served.cached_tokens
    usage[USAGE_OUTPUT].number_value = ask.output_tokens
    if served.written_tokens:
        usage[USAGE_WRITTEN].number_value = served.written_tokens
    return OneEntry(message.SerializeToString())


def _note_failures(entry: accesslog_pb2.HTTPAccessLogEntry, tried: Tried) -> None:
    if not tried.failures:
        return
    fields = entry.common_properties.metadata.filter_metadata[TRAIL_METADATA].fields
    for number, (provider, status) in enumerate(tried.failures, 1):
        note = fields[str(number)].struct_value.fields
        note[TRAIL_PROVIDER].string_value = provider
        note[TRAIL_STATUS].string_value = str(status)
        note[TRAIL_OUTCOME].string_value = "failed"
        note[TRAIL_CAUSE].string_value = _CAUSES[status]
