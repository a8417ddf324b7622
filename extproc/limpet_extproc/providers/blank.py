"""Keys in vendors' messages, which repeat parts of a refused key, and which go to logs and status."""

import re
from typing import Final

_KEY: Final = re.compile(
    r"""
    (?<=Bearer\ )[^\s"']+
    | (?<![A-Za-z0-9])(?:sk|pk|rk|gsk|xai|key|nvapi|hf|r8|fw|csk|tgp|pplx)[-_][\w*.-]*[\w*]{4,}[\w*.-]*  # by vendors
    | (?<![A-Za-z0-9])(?:AIza|ya29\.)[\w*.-]{6,}
    | [\w.-]*\*{2,}[\w*.-]*  # masked by the vendor
    | (?<![A-Za-z0-9])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{24,}  # long, letters and digits
    """,
    re.VERBOSE,
)
_SPACES: Final = re.compile(r"\s+")

BLANK: Final = "[key]"


def blanked(text: str) -> str:
    """The text as one line, with everything that looks like a key blanked."""
    return _KEY.sub(BLANK, _SPACES.sub(" ", text)).strip()
