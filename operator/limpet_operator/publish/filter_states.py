"""What the listener notes of a request in filter state, for ext_proc and for the programs of its attempts.

Filter state is the one place that no log shows.
"""

from typing import Final

from limpet_extproc.contract.envoy import (
    HEAD_ROUTE,
    HEAD_STATE,
    HEADERS_STATE,
    LENGTH_STATE,
    PATH_STATE,
    READ_HEADERS,
    WORKLOAD_KEPT,
)
from limpet_operator.publish.encode import Json, typed
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.publish.headers import CREDENTIAL_HEADERS

_SHARED: Final[Json] = {"shared_with_upstream": "TRANSITIVE"}
"""With the programs of attempts."""


def request_head(settings: EnvoySettings) -> Json:
    """For ext_proc, and for the Lua that blanks keys in errors, which in Header mode needs these alone.

    The client's credential is in it.
    """
    workload = [WORKLOAD_KEPT] if settings.tenant_from_workload else []
    read = (*READ_HEADERS, *workload, *settings.identity_headers)
    names = CREDENTIAL_HEADERS if settings.header_mode else dict.fromkeys(read)
    lines = [f"{name} %REQ({name})%" for name in names]
    if not settings.header_mode:
        lines.append(f"{HEAD_ROUTE} %ROUTE_NAME%")
    return _note(HEAD_STATE, [{**_state(HEAD_STATE, "\n".join(lines)), **_SHARED}])


def originals(settings: EnvoySettings) -> Json:
    """The client's own values, from which each attempt starts: it finds the headers as the last one left them."""
    states = {PATH_STATE: "%REQ(:PATH)%", LENGTH_STATE: "%REQ(CONTENT-LENGTH)%"}
    if settings.kept_headers:
        states[HEADERS_STATE] = "\n".join(f"{name} %CEL(request.headers['{name}'])%" for name in settings.kept_headers)
    return _note("limpet.originals", [{**_state(key, value), **_SHARED} for key, value in states.items()])


def _note(name: str, states: list[Json]) -> Json:
    return {
        "name": name,
        "typed_config": typed("filters.http.set_filter_state.v3.Config", on_request_headers=states),
    }


def _state(key: str, value: str) -> Json:
    return {
        "object_key": key,
        "factory_key": "envoy.string",
        "format_string": {"text_format_source": {"inline_string": value}, "omit_empty_values": True},
    }
