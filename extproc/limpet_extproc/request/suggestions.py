"""Which provider or model a misspelt name probably means."""

from collections.abc import Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Final

_MAX_NAME_CHARS: Final = 64
_MAX_NAMES: Final = 2
_MAX_PROVIDERS: Final = 32
"""Names and providers that are compared: two that are much alike take a tenth of a millisecond, and all other requests
wait for it."""


def suggestion(names: Sequence[str], providers: Sequence[str]) -> str | None:
    """The provider closest to one of `names`; one that differs in case alone comes first."""
    by_folded = {provider.casefold(): provider for provider in providers}
    folded = [name.casefold() for name in names if len(name) <= _MAX_NAME_CHARS]
    if same := next((name for name in folded if name in by_folded), None):
        return by_folded[same]
    compared = list(islice(by_folded, _MAX_PROVIDERS))
    matches = (get_close_matches(name, compared, 1) for name in folded[:_MAX_NAMES])
    return next((by_folded[match[0]] for match in matches if match), None)


def suggested_model(name: str, models: Sequence[str]) -> str | None:
    """The model closest to `name`; one that differs only by what stands before a slash comes first."""
    if len(name) > _MAX_NAME_CHARS:
        return None
    last = _after_slash(name)
    return next((model for model in models if _after_slash(model) == last), None) or suggestion([name], models)


def _after_slash(name: str) -> str:
    return name.rpartition("/")[2].casefold()
