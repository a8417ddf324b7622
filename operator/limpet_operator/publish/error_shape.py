"""Errors in the shape of OpenAI's API: as text, and as Envoy's formats of local replies."""

import json

from limpet_operator.publish.encode import Json, typed


def error_body(message: str, kind: str, code: str, param: str | None = None) -> str:
    """An error in the shape of OpenAI's API."""
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


def error_format(message: str, kind: str, code: str, *, omit_empty: bool = False) -> Json:
    """The same as a format: `message` may name properties of the request, such as `%REQ(:METHOD)%`."""
    return {
        "content_type": "application/json",
        "json_format": {"error": {"message": message, "type": kind, "param": None, "code": code}},
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
