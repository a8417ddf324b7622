"""Texts of clients and vendors as a page can show them: no character is unseen, or turns others around."""

import re
from typing import Final

from markupsafe import Markup

_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def readable(text: str) -> str:
    """The same, with what is not seen, or turns the text around it, as an escape such as U+202E has."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shown(value: object) -> object:
    """What a template is to put into a page; markup is ours, and stays."""
    return readable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def as_it_is(text: str) -> Markup:
    """Escaped as HTML alone: for a field that is sent back as it was."""
    return Markup.escape(text)
