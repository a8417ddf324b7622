"""A file that a user names -> the price list in it, whichever of the two shapes it has."""

import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from limpet_operator.pricelists.fitting import fitting
from limpet_operator.pricelists.listed import OpenList, Repeated, UnusableListError
from limpet_operator.pricelists.litellm import is_litellm, read_litellm
from limpet_operator.pricelists.models_dev import is_models_dev, read_models_dev

_LONGEST_INT: Final = 64
_WANTED: Final = "models.dev's api.json or LiteLLM's model_prices_and_context_window.json"


def read_list(data: bytes) -> OpenList:
    """Raises UnusableListError, whose message says what the file should be."""
    try:
        document = json.loads(data, parse_float=Decimal, parse_int=_whole, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise UnusableListError(f"not JSON ({error}): name {_WANTED}, as it was downloaded") from error
    if isinstance(document, dict) and isinstance(inner := document.get("providers"), dict) and is_models_dev(inner):
        document = inner  # models.dev's catalog.json, which has its api.json inside
    if isinstance(document, dict) and is_models_dev(document):
        return fitting(read_models_dev(document))
    if isinstance(document, dict) and is_litellm(document):
        return fitting(read_litellm(document))
    raise UnusableListError(f"no price list of a known shape: name {_WANTED}")


def _whole(digits: str) -> int | Decimal:
    """Python makes no int of more than some thousand digits, and one such number is no reason to refuse all others."""
    return int(digits) if len(digits) <= _LONGEST_INT else Decimal(digits)


def _object(members: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for name, value in members:
        read[name] = Repeated() if name in read and read[name] != value else value
    return read
