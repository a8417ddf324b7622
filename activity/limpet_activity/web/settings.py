"""What the page is told when it starts."""

from typing import Final

import msgspec

LOOPBACK_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""The names of a page that only this machine reaches."""

WEEK_S: Final = 7 * 86_400.0


class PageSettings(msgspec.Struct, frozen=True):
    """Who may see the page, and by which names it is called."""

    token: str
    """What signs a person or a program in; never empty."""
    allowed_hosts: frozenset[str] = frozenset()
    """Host names without port that a request may use; empty: any. A loopback page has to name them, as any web site
    can make a browser ask it under a name of its own."""
    trusted_user_header: str = ""
    """Where a proxy that has signed the person in names them; empty: no such proxy. Whoever reaches the page beside
    that proxy can send this header, too."""
    signed_in_for_s: float = WEEK_S
