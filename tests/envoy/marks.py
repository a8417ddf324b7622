"""Words that must not leave a request, and a search for them in whichever form something may have kept them."""

import html
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, quote_plus

MARKS: Final[Mapping[str, str]] = {
    "system prompt": "Marked system: ebb & flow/4f1d0c",
    "prompt": "Marked prompt: spring & neap/4f1d0c",
    "answer of an earlier turn": "Marked answer: slack & surge/4f1d0c",
    "tool": "marked_tool_4f1d0c",
    "user": "marked+user/4f1d0c@example",
    "session": "marked-session-4f1d0c-0123",
    "client key": "lpk-marked-client-4f1d0c-0123456789",
    "wrong key": "lpk-marked-wrong-4f1d0c-0123456789",
    "foreign key": "sk-marked-foreign-4f1d0c-0123456789",
    "provider credential": "sk-marked-provider-4f1d0c-0123456789",
    "other provider's credential": "sk-marked-another-4f1d0c-0123456789",
    "header": "marked-header-4f1d0c-0123",
    "cookie": "marked-cookie-4f1d0c-0123",
    "query": "marked-query-4f1d0c-0123",
    "error of a provider": "Marked error: stranded & aground/4f1d0c",
}


def forms(mark: str) -> frozenset[bytes]:
    """In JSON, HTML, a URL or hexadecimal, or in base64 wherever in a longer text it begins; lower case."""
    raw = mark.encode()
    found = {raw, json.dumps(mark)[1:-1].encode(), html.escape(mark).encode(), raw.hex().encode()}
    found |= {quote(mark).encode(), quote(mark, safe="").encode(), quote_plus(mark).encode()}
    for encode in (b64encode, urlsafe_b64encode):
        for before in range(3):
            # The first and last characters depend on what stands beside it.
            whole = len(raw) - (before + len(raw)) % 3
            text = encode(bytes(before) + raw[:whole])
            found.add(text[(4 if before else 0) :])
    return frozenset(each.lower() for each in found)


def found_in(data: bytes) -> list[str]:
    """The names of the marks that are in it."""
    lowered = data.lower()
    return [name for name, mark in MARKS.items() if any(form in lowered for form in forms(mark))]
