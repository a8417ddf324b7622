"""What an error of a provider means, by its status and its text: `causes.lua` in Python, for the answers to probes.

Both read the same rules (`error_rules.yaml`), and both read bytes, as Lua knows no other letters than ASCII's.
"""

import re
from typing import Any, Final

from limpet_extproc.contract.attempt import Cause
from limpet_operator.publish.error_rules import RULES

BY_STATUS: Final[dict[int, Cause]] = {
    400: "BadRequest",
    401: "CredentialRefused",
    402: "NoCredit",
    403: "Forbidden",
    404: "NotFound",
    406: "BadRequest",
    408: "ServerError",
    410: "ModelNotFound",
    411: "BadRequest",
    413: "TooLarge",
    414: "BadRequest",
    415: "BadRequest",
    422: "BadRequest",
    425: "Overloaded",
    429: "Limited",
    431: "BadRequest",
    498: "Overloaded",
    529: "Overloaded",
}
_BY_CLASS: Final[dict[int, Cause]] = {2: "NotAnAnswer", 3: "Redirected", 5: "ServerError"}

OF_THE_REQUEST: Final[frozenset[Cause]] = frozenset(
    {"TooLarge", "ContentRefused", "Untranslated", "BadRequest", "NotFound"}
)
"""Causes that blame the request and not the provider."""

_MESSAGE: Final = re.compile(rb'"message"\s*:\s*"([^"]*)')
_ERROR: Final = re.compile(rb'"error"\s*:\s*"([^"]*)')
_PAGE: Final = re.compile(rb"\s*<")
_OF_PAGES: Final[dict[int, Cause]] = {403: "UnusableStatus", 404: "PathNotFound"}
"""What a page of HTML says. With 403 it comes from a firewall in front of the provider, which may have disliked one
prompt; with 404 no API was there to answer."""
_JSON: Final = re.compile(rb"\s*[{\[]")
_QUOTED: Final = re.compile(rb"[{\[`\\]")
_QUOTE: Final = re.compile(rb"[^a-z]'")


def error_cause(vendor: str, status: int, text: str) -> Cause:
    """The status decides, unless the text says more; `text` is what has been read of the answer's body."""
    lower = text.encode().lower()
    if status in _OF_PAGES and _PAGE.match(lower):
        return _OF_PAGES[status]
    beginning = _beginning(lower)
    for rule in RULES:
        if status in rule["status"] and vendor in rule.get("vendors", (vendor,)) and _found(rule, lower, beginning):
            cause: Cause = rule["cause"]
            return cause
    if status == 404 and not _JSON.match(lower):
        return "PathNotFound"
    return BY_STATUS.get(status) or _BY_CLASS.get(status // 100, "UnusableStatus")


def _found(rule: dict[str, Any], lower: bytes, beginning: bytes) -> bool:
    """Words that blame the provider count only as the whole of a value or in the beginning of the message."""
    words = rule["find"].encode()
    if b'"' + words + b'"' in lower:
        return True
    return (words in beginning and not rule.get("whole")) or (rule["cause"] in OF_THE_REQUEST and words in lower)


def _beginning(lower: bytes) -> bytes:
    """Of the error's message. Some servers quote the request after it, which may hold anything."""
    found = _MESSAGE.search(lower) or _ERROR.search(lower)
    message = found[1] if found else b"" if _JSON.match(lower) else lower
    ends = (match.start() for match in (_QUOTED.search(message), _QUOTE.search(b" " + message)) if match)
    return message[: min(ends, default=len(message))]
