"""A colour for each provider: by its name, so that it keeps it."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Final

COLOURS: Final = 8
"""Classes `c0` to `c7` of the style sheet, told apart by people who see fewer colours."""

NO_COLOUR: Final = "cx"
"""Of nobody."""


def colours(known: Iterable[str], others: Iterable[str] = ()) -> Mapping[str, str]:
    """The class of each.

    Two known names of one colour are told apart while there is another that none of them has; the others, such as
    providers that are gone, change no colour of those.
    """
    taken: set[int] = set()
    chosen: dict[str, str] = {}
    for name in sorted(set(known) - {""}):
        own = colour_number(name)
        slots = [(own + step) % COLOURS for step in range(COLOURS)]
        slot = next((slot for slot in slots if slot not in taken), own)
        taken.add(slot)
        chosen[name] = f"c{slot}"
    return {name: f"c{colour_number(name)}" for name in others if name} | chosen


def colour_number(name: str) -> int:
    """What its name alone says."""
    return sha256(name.encode()).digest()[0] % COLOURS
