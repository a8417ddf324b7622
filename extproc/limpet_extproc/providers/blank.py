"""Keys in other people's words: vendors repeat parts of the key they refuse, and those words go to logs and status."""

import re
from typing import Final

_KEY: Final = re.compile(
    r"""
    (?<=Bearer\ )[^\s"']+
    | (?<![A-Za-z0-9])(?:sk|pk|rk|gsk|xai|key|nvapi|hf|r8|fw|csk|tgp|pplx)[-_][\w*.-]*[\w*]{4,}[\w*.-]*  # by vendors
    | (?<![A-Za-z0-9])(?:AIza|ya29\.)[\w*.-]{6,}
    | [\w.-]*\*{2,}[\w*.-]*  # starred out by the vendor
    | (?<![A-Za-z0-9])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{24,}  # long, letters and digits
    """,
    re.VERBOSE,
)
_SPACES: Final = re.compile(r"\s+")

BLANK: Final = "[key]"


def blanked(text: str) -> str:
    """One line of text in which nothing is left that looks like a key."""
    return _KEY.sub(BLANK, _SPACES.sub(" ", text)).strip()
