"""The hosts that a loopback gateway answers to, and the origins of web pages that may use a gateway.

A browser carries any page's requests to any address the machine can reach. They differ in `Origin`, which no page can
leave out of a POST or forge, and on loopback in `Host`: a page that makes its own name resolve to 127.0.0.1 (DNS
rebinding) has the same origin in the browser's eyes, but its requests still carry that name.
"""

import re
from collections.abc import Sequence
from typing import Final

from limpet_extproc.contract.envoy import ATTEMPTS_HEADER, DECISION_HEADER, PROVIDER_HEADER, TRIED_HEADER
from limpet_operator.publish.encode import Json, typed

OWN_NAMES: Final = (
    "127.0.0.1",
    "localhost",
    "*.localhost",
    "[::1]",
    "host.docker.internal",
    "host.containers.internal",
)
"""Names of a loopback listener on its own machine, containers included; none can be registered in public DNS."""

LOOPBACK_ORIGINS: Final = ("http*://localhost:*", "http*://127.0.0.1:*", "http*://[::1]:*")
"""Pages that a program on this machine serves. Such a program could use a loopback listener anyway."""

_ORIGIN: Final = re.compile(r"\*|null|[a-zA-Z*][a-zA-Z0-9+.*-]*://[^/,\s]+")

_METHODS: Final = "GET, HEAD, POST, DELETE"
_MAX_AGE_S: Final = 600
_REQUEST_HEADERS: Final = "authorization, content-type, *"
"""By the Fetch standard a star does not stand for `authorization`."""
EXPOSED: Final = f"{PROVIDER_HEADER}, {DECISION_HEADER}, {ATTEMPTS_HEADER}, {TRIED_HEADER}, retry-after, *"


def origin(text: str) -> str:
    """An origin as browsers write it, `*` allowed in it. Raises ValueError with advice."""
    if not _ORIGIN.fullmatch(text):
        raise ValueError(
            f"'{text}' is not an origin; write scheme and host without a path, such as https://chat.example"
        )
    return text


def pattern(origins: Sequence[str]) -> str:
    """A regular expression for whole origins; `*` in one stands for any characters but a slash or a comma.

    A colon and a star at the end stand for any port, the scheme's own too, which is not written out.
    """
    return "|".join(_pattern(origin) for origin in origins) or "[^\\s\\S]"


def _pattern(origin: str) -> str:
    if origin == "*":
        return ".*"
    if origin.startswith("http*://"):
        return "https?://" + _pattern(origin.removeprefix("http*://"))
    if origin.endswith(":*"):
        return _starred(origin.removesuffix(":*")) + "(?::[0-9]+)?"
    return _starred(origin)


def _starred(text: str) -> str:
    return "[^/,]*".join(re.escape(part) for part in text.split("*"))


def foreign(origins: Sequence[str]) -> list[Json]:
    """Header matchers for a request from a page that is not allowed."""
    return [
        {"name": "origin", "present_match": True},
        {"name": "origin", "string_match": {"safe_regex": {"regex": pattern(origins)}}, "invert_match": True},
    ]


def policy(origins: Sequence[str]) -> Json:
    """For Envoy's cors filter: the headers with which a browser lets an allowed page read answers and errors."""
    return typed(
        "filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=[{"safe_regex": {"regex": pattern(origins)}}],
        expose_headers=EXPOSED,
    )


def answer_headers() -> dict[str, str]:
    """The same for a route that answers itself, which Envoy's cors filter passes over.

    A page that is not allowed has been refused before; without an origin the value is empty, and Envoy adds no header.
    """
    return {"access-control-allow-origin": "%REQ(ORIGIN)%", "access-control-expose-headers": EXPOSED}


def preflight_headers(asked_privately: bool) -> dict[str, str]:
    """The answer to a preflight; for a page on the internet, browsers ask about private networks too."""
    return {
        "access-control-allow-origin": "%REQ(ORIGIN)%",
        "access-control-allow-methods": _METHODS,
        "access-control-allow-headers": _REQUEST_HEADERS,
        "access-control-max-age": str(_MAX_AGE_S),
        "vary": "origin",
        **({"access-control-allow-private-network": "true"} if asked_privately else {}),
    }
