"""Remarks about a price list as lines for people: the same remark about several models once."""

from collections.abc import Iterable, Iterator
from typing import Final

from limpet_operator.pricelists.listed import Remark
from limpet_operator.resources.problem import shown

_SHOWN: Final = 5
_LONGEST: Final = 80


def told(remarks: Iterable[Remark]) -> Iterator[str]:
    """A line for each thing that is remarked."""
    about: dict[tuple[str, str], list[str]] = {}
    for remark in dict.fromkeys(remarks):
        about.setdefault((remark.provider, remark.text), []).append(remark.model)
    for (provider, text), models in about.items():
        named = [_printable(model) for model in models if model]
        more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
        yield f"{' '.join(filter(None, (_printable(provider), ', '.join(named[:_SHOWN]))))}{more}: {text}"


def _printable(name: str) -> str:
    """A name of the list, which may hold anything, as a terminal shows it."""
    return name if name.isprintable() and len(name) <= _LONGEST else shown(name)
