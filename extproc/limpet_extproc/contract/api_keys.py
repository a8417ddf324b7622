"""What looks like an API key, and so must not reach a log or a status: one list of prefixes for both planes.

No rule is certain: some keys are shown, some words are hidden. Vendors choose the words that are read here, so every
pattern begins at the beginning of a word or after a fixed one, and reads on for a bounded stretch: time is linear.
"""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

KEY_PREFIXES: Final = " lpk sk pk rk gsk csk xai key nvapi hf r8 fw fk tgp pplx gho ghp ghr ghs ghu glpat "
"""What keys begin with, before a hyphen or an underscore. With spaces around each, as Envoy's Lua looks them up."""
KEY_STARTS: Final = "AIza ya29. eyJ"
"""Of Google's keys and tokens, and of JSON Web Tokens: the rest follows at once."""

_VENDORS: Final = "|".join(KEY_PREFIXES.split())
_PREFIXED: Final = rf"""
    (?<![A-Za-z0-9])(?:{_VENDORS})[-_][\w*.-]{{4,}}
    | (?<![A-Za-z0-9])(?:{"|".join(map(re.escape, KEY_STARTS.split()))})[\w*.-]{{4,}}
"""

_PLAIN: Final = (
    "a|an|and|auth|authentication|authorization|credentials?|format|header|invalid|is|keys?|missing|must|not|or|prefix"
    "|required|schemes?|the|tokens?|was"
)
"""Words that follow `Bearer` and `Basic` in a sentence."""

_IN_MESSAGE: Final = re.compile(
    rf"""
    (?P<lead>\bbearer[ ])(?!(?:{_PLAIN})\b)[^\s"']+
    | (?P<basic>\bbasic[ ])(?!(?:{_PLAIN})\b)(?=[\w+/]{{1,80}}(?-i:[A-Z0-9=]))[\w+/=.-]{{8,}}
    | (?P<named>(?:token|secret|password|key|signature)["']?(?:[ ]?=[ ]?["']?|[ ]?:[ ]?["']?(?=[^\s"',;]{{0,80}}\d)))
      [^\s"'&,;]{{6,}}
    | (?<![A-Za-z0-9])(?:{_VENDORS})\\?(?:[-_]|%2d|%5f)[\w*.%-]{{4,}}
    | {_PREFIXED}
    | (?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{{8,}}
    | (?<![\w.-])[\w.-]*+\*{{2,}}[\w*.-]*  # masked by the vendor
    | (?<![\w-])(?=[a-z_]{{0,80}}\d)(?=\d{{0,80}}[a-z_])\w{{20,}}  # long, letters and digits
    | (?<![\w-])(?=[a-z_-]{{0,80}}\d)(?=[\d_-]{{0,80}}[a-z])[\w-]{{24,}}
    """,
    re.VERBOSE | re.IGNORECASE,
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

BLANK: Final = "[key]"

_MAY_HOLD_OWN: Final = 8192
"""Characters of a message that are searched for known keys, so that none is cut in two."""
_READ: Final = 1000
"""Characters of a message that are read; what is shown of it is shorter still."""
_SHORTEST: Final = 4
"""A known key that is shorter is part of many words, and no secret."""


def blanked(message: str, own: Iterable[str] = ()) -> str:
    """A vendor's message as one line that can be printed, each part that looks like a key replaced.

    Some vendors repeat the key that they refuse. `own` are keys that are known: they are replaced whatever they look
    like. Only the beginning of a long message is read.
    """
    line = one_line(message[:_MAY_HOLD_OWN])
    for key in own:
        if len(key) >= _SHORTEST:
            for written in {key, quote(key, safe="")}:
                line = line.replace(written, BLANK)
    return _IN_MESSAGE.sub(_blank, line[:_READ]).strip()


def one_line(text: str) -> str:
    """Without anything that moves a terminal's cursor, hides or reorders letters, or begins a new line."""
    return " ".join("".join(letter for letter in text if letter.isprintable() or letter.isspace()).split())


def _blank(found: re.Match[str]) -> str:
    return (found["lead"] or found["basic"] or found["named"] or "") + BLANK


def may_be_key(field: str) -> bool:
    """Whether the value of a field, as a user wrote it, looks like a key."""
    return _IN_FIELD.search(field) is not None
