"""What became of a request of a trace, as Envoy's access log would say it."""

from typing import Final

from limpet_extproc.contract.envoy import USAGE_CACHED, USAGE_OUTPUT, USAGE_PROMPT, USAGE_WRITTEN
from limpet_extproc.contract.record import Record
from limpet_lab.log_entry import FailedTry, OneEntry, log_of_request
from limpet_lab.replay.play import Tried
from limpet_lab.replay.requests import ReplayedRequest

_BYTES_PER_OUTPUT_TOKEN: Final = 150
"""Of a streamed chunk, which holds one."""
_CAUSES: Final = {429: "Limited", 500: "ServerError", 503: "Overloaded"}
_SENT_S: Final = 0.001


def log_of(request: ReplayedRequest, record: Record, tried: Tried) -> OneEntry:
    """The entry of a request at its end."""
    failures = [FailedTry(provider, status, _CAUSES[status]) for provider, status in tried.failures]
    served = tried.served
    if served is None:
        return log_of_request(record, failures)
    usage = {
        USAGE_PROMPT: request.prompt_tokens,
        USAGE_CACHED: served.cached_tokens,
        USAGE_OUTPUT: request.output_tokens,
        **({USAGE_WRITTEN: served.written_tokens} if served.written_tokens else {}),
    }
    log = log_of_request(record, failures, served.provider, usage)
    log.entry.response.response_body_bytes = request.output_tokens * _BYTES_PER_OUTPUT_TOKEN
    common = log.entry.common_properties
    common.duration.FromMicroseconds(int(served.seconds * 1e6))
    common.time_to_first_upstream_tx_byte.FromMicroseconds(int(_SENT_S * 1e6))
    common.time_to_first_upstream_rx_byte.FromMicroseconds(int((_SENT_S + served.first_byte_s) * 1e6))
    common.time_to_last_upstream_rx_byte.FromMicroseconds(int((_SENT_S + served.seconds) * 1e6))
    return log
