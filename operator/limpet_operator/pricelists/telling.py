"""Remarks about a price list as lines for people: the same remark about several models once."""

from collections.abc import Iterable, Iterator
from typing import Final

from limpet_operator.pricelists.listed import Remark

_SHOWN: Final = 5


def told(remarks: Iterable[Remark]) -> Iterator[str]:
    """A line for each thing that is remarked."""
    about: dict[tuple[str, str], list[str]] = {}
    for remark in dict.fromkeys(remarks):
        about.setdefault((remark.provider, remark.text), []).append(remark.model)
    for (provider, text), models in about.items():
        named = [model for model in models if model]
        more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
        yield f"{' '.join(filter(None, (provider, ', '.join(named[:_SHOWN]))))}{more}: {text}"
