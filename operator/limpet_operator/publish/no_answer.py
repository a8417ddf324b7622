"""What the client gets where the last attempt ended without an answer: the most telling error of all attempts.

Our Lua keeps it in the trail while attempts fail (`tried.lua`); here Envoy writes it.
"""

from typing import Final

from limpet_extproc.contract.envoy import (
    DECISION_METADATA,
    DECISION_WHY,
    PROVIDER_HEADER,
    TRAIL_BEST_HEAD,
    TRAIL_BEST_STATUS,
    TRAIL_BEST_TAIL,
    TRAIL_LEAST_WAIT_S,
    TRAIL_METADATA,
    TRAIL_TRIED,
    TRIED_HEADER,
)
from limpet_operator.publish.encode import Json, set_header
from limpet_operator.publish.error_shape import ASKED_ANTHROPIC, DECIDED_ANTHROPIC, cel, mappers

_IDLE: Final = "response.code_details == 'stream_idle_timeout'"
"""The route's own limit, the only one where a header names the provider."""
_TRIED: Final = f"response.code >= 500 && (response.code_details.startsWith('upstream_') || {_IDLE})"
"""In CEL: the last attempt ended without an answer."""
_TIMEOUT: Final = (
    "(response.code_details.startsWith('upstream_per_try_') || "
    f"response.code_details == 'upstream_max_stream_duration_reached' || {_IDLE})"
)
"""Of a connection that exists; one that did not come about in time is none, and no work was done."""
_EACH: Final = (
    f"%DYNAMIC_METADATA({TRAIL_METADATA}:{TRAIL_TRIED})%%UPSTREAM_CLUSTER% "
    f"%CEL({_TIMEOUT} ? 'timeout' : 'no connection')%"
)
"""What came of each provider; our Lua has noted it of those before the last."""
_TOLD_BY_PROVIDERS: Final = (400, 403, 413, 422, 429)
"""Statuses of providers' errors that say more than that another one was not reached, or did not answer in time."""
_WHO: Final = [set_header(PROVIDER_HEADER, "%UPSTREAM_CLUSTER%"), set_header(TRIED_HEADER, _EACH)]


def no_answer() -> list[Json]:
    """After failed attempts: the most telling error, and what is wrong with the others if ext_proc knew."""
    failed = f"No provider answered ({_EACH}): %LOCAL_REPLY_BODY%."
    code = "no_provider_available"
    why = f"%DYNAMIC_METADATA({DECISION_METADATA}:{DECISION_WHY})%"
    knows_why = f"'{DECISION_WHY}' in metadata.filter_metadata['{DECISION_METADATA}']"
    return [
        *(_told_before(status) for status in _TOLD_BY_PROVIDERS),
        *mappers(
            cel(f"{_TRIED} && {_TIMEOUT}"),
            DECIDED_ANTHROPIC,
            f"No answer began in time. The provider may have done the work all the same ({_EACH}).",
            "server_error",
            "provider_timeout",
            504,
            omit_empty=True,
            headers_to_add=_WHO,
        ),
        _told_before(502),
        *mappers(
            cel(f"{_TRIED} && {knows_why}"),
            DECIDED_ANTHROPIC,
            f"{failed} {why}",
            "server_error",
            code,
            503,
            omit_empty=True,
            headers_to_add=_WHO,
        ),
        *mappers(
            cel(_TRIED),
            DECIDED_ANTHROPIC,
            failed,
            "server_error",
            code,
            503,
            omit_empty=True,
            headers_to_add=_WHO,
        ),
        *mappers(
            cel("response.code >= 500"),
            {"or_filter": {"filters": [DECIDED_ANTHROPIC, ASKED_ANTHROPIC]}},
            "No provider could be asked: %RESPONSE_CODE_DETAILS%.",
            "server_error",
            code,
            503,
        ),
    ]


def _told_before(status: int) -> Json:
    """The error of a provider that was tried before the last one, with this status for the client."""
    trail = f"metadata.filter_metadata['{TRAIL_METADATA}']"
    head, tail = (f"%DYNAMIC_METADATA({TRAIL_METADATA}:{key})%" for key in (TRAIL_BEST_HEAD, TRAIL_BEST_TAIL))
    least_s = f"%DYNAMIC_METADATA({TRAIL_METADATA}:{TRAIL_LEAST_WAIT_S})%"
    return {
        "filter": cel(f"{_TRIED} && '{TRAIL_BEST_STATUS}' in {trail} && {trail}['{TRAIL_BEST_STATUS}'] == '{status}'"),
        "body_format_override": {
            "text_format_source": {"inline_string": f"{head} ({_EACH}){tail}"},
            "content_type": "application/json",
            "omit_empty_values": True,
        },
        "status_code": status,
        "headers_to_add": [*_WHO, *([set_header("retry-after", least_s)] if status == 429 else [])],
    }
