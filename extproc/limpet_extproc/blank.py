"""Keys in other people's words: vendors repeat parts of the key they refuse, and those words go to logs and status."""

import re
from typing import Final

_KEY: Final = re.compile(
    r"""
    \b(?:sk|pk|rk|gsk|xai|key|nvapi|hf|r8|fw|csk|tgp|pplx|AIza|ya29|Bearer)[-_.]?[\w*.-]{6,}   # as vendors begin theirs
    | [\w.-]*\*{2,}[\w*.-]*                                                              # starred out by the vendor
    | \b(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{24,}                                         # long, letters and digits
    """,
    re.VERBOSE,
)
_SPACES: Final = re.compile(r"\s+")

BLANK: Final = "[key]"


def blanked(text: str) -> str:
    """One line of text in which nothing is left that looks like a key."""
    return _KEY.sub(BLANK, _SPACES.sub(" ", text)).strip()
