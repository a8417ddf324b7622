"""What looks like an API key, and so must not reach a log or a status: one list of prefixes for both planes.

No rule is certain: some keys are shown, some words are hidden.
"""

import re
from typing import Final

_PREFIXED: Final = r"""
    (?<![A-Za-z0-9])(?:sk|pk|rk|gsk|csk|xai|key|nvapi|hf|r8|fw|fk|tgp|pplx)[-_][\w*.-]{4,}  # by vendors
    | (?<![A-Za-z0-9])(?:AIza|ya29\.|eyJ)[\w*.-]{4,}
"""

_IN_MESSAGE: Final = re.compile(
    rf"""
    (?<=Bearer\ )[^\s"']+
    | {_PREFIXED}
    | [\w.-]*\*{{2,}}[\w*.-]*  # masked by the vendor
    | (?<![A-Za-z0-9])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{{24,}}  # long, letters and digits
    """,
    re.VERBOSE,
)
_IN_FIELD: Final = re.compile(
    rf"""
    {_PREFIXED}
    | (?=[\w-]*[0-9])(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[\w-]{{20,}}
    | (?=[a-z]*[0-9])(?=[0-9]*[a-z])[0-9a-z]{{24,}}
    """,
    re.VERBOSE,
)
"""Narrower without a prefix: names of models and hosts are long and hold digits too, and messages have to show them."""

_SPACES: Final = re.compile(r"\s+")

BLANK: Final = "[key]"


def blanked(message: str) -> str:
    """A vendor's message as one line, each part that looks like a key replaced: some repeat the key they refuse."""
    return _IN_MESSAGE.sub(BLANK, _SPACES.sub(" ", message)).strip()


def may_be_key(field: str) -> bool:
    """Whether the value of a field, as a user wrote it, looks like a key."""
    return _IN_FIELD.search(field) is not None
