"""Errors in the shape of the API that a client speaks, as Envoy writes its local replies."""

from collections.abc import Sequence
from typing import Final

from limpet_extproc.contract.apis import MESSAGE_BATCHES
from limpet_extproc.contract.envoy import DECISION_API, DECISION_METADATA
from limpet_extproc.contract.error_types import anthropic_type
from limpet_operator.publish.encode import Json, typed

INVALID: Final = "invalid_request_error"


def mappers(
    when: Json,
    anthropic: Json,
    message: str,
    kind: str,
    code: str,
    status: int,
    *,
    omit_empty: bool = False,
    **rest: list[Json],
) -> list[Json]:
    """What Envoy writes when `when` holds: to clients of Anthropic's API, for which `anthropic` holds, and to others.

    `message` is a format.
    """
    shapes = (
        ({"and_filter": {"filters": [when, anthropic]}}, anthropic_error(message, status)),
        (when, openai_error(message, kind, code)),
    )
    return [
        {"filter": each, "body_format_override": formatted(error, omit_empty), "status_code": status, **rest}
        for each, error in shapes
    ]


def either_mapper(when: Json, message: str, kind: str, code: str, status: int, **rest: list[Json]) -> Json:
    """The same to a client of which nobody knows what it speaks: an error that both can read."""
    error = {"type": "error", **openai_error(message, kind, code)}
    return {"filter": when, "body_format_override": formatted(error), "status_code": status, **rest}


def openai_error(message: str, kind: str, code: str) -> Json:
    """An error of OpenAI's API."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic_error(message: str, status: int) -> Json:
    """An error of Anthropic's API."""
    return {"type": "error", "error": {"type": anthropic_type(status), "message": message}}


def formatted(error: Json, omit_empty: bool = False) -> Json:
    """An error whose message may name properties of the request, such as `%REQ(:METHOD)%`."""
    return {
        "content_type": "application/json",
        "json_format": error,
        **({"omit_empty_values": True} if omit_empty else {}),
    }


def cel(expression: str) -> Json:
    """A filter of local replies by an expression in CEL."""
    return {
        "extension_filter": {
            "name": "envoy.access_loggers.extension_filters.cel",
            "typed_config": typed("access_loggers.filters.cel.v3.ExpressionFilter", expression=expression),
        }
    }


def _any(filters: Sequence[Json]) -> Json:
    return {"or_filter": {"filters": list(filters)}}


def _path(regex: str, **more: bool) -> Json:
    return {"header_filter": {"header": {"name": ":path", "string_match": {"safe_regex": {"regex": regex}}, **more}}}


ASKED_ANTHROPIC: Final = _any(
    (
        _path("[!->@-~]*/messages(?:[/?]\\C*)?"),
        {
            "and_filter": {
                "filters": [
                    {"header_filter": {"header": {"name": "anthropic-version", "present_match": True}}},
                    _path("[!->@-~]*/(?:chat/completions|responses)(?:[/?]\\C*)?", invert_match=True),
                ]
            }
        },
    )
)
"""A filter for requests of Anthropic's API that have not reached a decision: see `speaks_anthropic` in Lua."""

_API: Final = f"metadata.filter_metadata['{DECISION_METADATA}']['{DECISION_API}']"
DECIDED_ANTHROPIC: Final = cel(f"{_API} == 'AnthropicMessages' || {_API} == '{MESSAGE_BATCHES}'")
"""The same for those that have: their path is that of the last attempt."""
