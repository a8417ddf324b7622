"""What is wrong with an object, as data: where, and what to write instead."""

import re
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, NamedTuple

from limpet_extproc.contract.api_keys import may_be_key

API_GROUP = "limpet.dev"
API_VERSION = "limpet.dev/v1alpha1"
DEFAULT_NAMESPACE = "default"
PLURALS: Final = {
    "Provider": "providers",
    "Pricing": "pricings",
    "HealthProbe": "healthprobes",
    "StickyPolicy": "stickypolicies",
}
"""Our four kinds -> their plurals in API paths."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = 80
_SHORT.maxdict = 3


class ObjectKey(NamedTuple):
    """Names an object. An object without a namespace is in `default`, as with kubectl."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.display_name}"

    @property
    def display_name(self) -> str:
        """The name alone in the namespace `default`, else `namespace/name`."""
        return self.name if self.namespace == DEFAULT_NAMESPACE else f"{self.namespace}/{self.name}"


class Problem(NamedTuple):
    """One thing to change: a path such as `spec.models[0].name`, and what to write there."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


@dataclass(frozen=True, slots=True)
class Invalid:
    """An object that can't be used. The key is None where not even its name could be read."""

    key: ObjectKey | None
    problems: tuple[Problem, ...]

    @property
    def message(self) -> str:
        """All problems in one line."""
        return "; ".join(map(str, self.problems))


HIDDEN: Final = '"…" (not shown)'
"""Replaces a value in messages that may be a key: people paste keys where the name of one belongs."""

_USERINFO: Final = re.compile(r"(?<=//)[^/@\s]+@")
"""User and password of a URL."""


def named(name: str) -> str:
    """A name as messages show it, unless it may be a key."""
    return HIDDEN if may_be_key(name) else name


def shown(value: object) -> str:
    """A value as messages show it: as JSON does, never longer than a line, never what may be a key."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = _USERINFO.sub("…@", value if isinstance(value, str) else _SHORT.repr(value))
    if may_be_key(text):
        return HIDDEN
    return f'"{_cut(text)}"' if isinstance(value, str) else text


def _cut(text: str) -> str:
    plain = text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
    return plain if len(plain) <= 80 else plain[:77] + "…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` where a known word is similar, else nothing.

    One that begins with another letter has to be very similar: Other is not meant for Together.
    """
    lower = word.lower()
    by_lower = {name.lower(): name for name in known}
    alike = [name for name in by_lower if name[:1] == lower[:1]]
    near = get_close_matches(lower, alike, n=1, cutoff=0.6) or get_close_matches(lower, by_lower, n=1, cutoff=0.8)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""
