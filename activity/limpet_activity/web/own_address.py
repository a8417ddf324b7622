"""Addresses of this page, as browsers are sent to them."""

from urllib.parse import quote

from starlette.requests import Request


def own_path(request: Request) -> str:
    """The path that was asked for, with whatever an id in it is made of as an escape."""
    return quote(request.scope["path"], safe="/:@!$'()*,;=~", errors="replace")


def own_address(request: Request) -> str:
    """The same with its query."""
    return own_path(request) + (f"?{request.url.query}" if request.url.query else "")


def in_path(part: str) -> str:
    """An id as one part of a path."""
    return quote(part, safe="", errors="replace")
