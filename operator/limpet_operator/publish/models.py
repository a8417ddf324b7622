"""The models that are served, as what Envoy answers with and as tables for its Lua.

A table is one text. As a struct with a field for each model it had to be converted field by field, here and in Envoy,
whenever a provider came or went.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Final

from limpet_operator.planning.plan import PlannedProvider

_ESCAPED: Final = re.compile(r"[\x00-\x1f%]")


def models(providers: Iterable[PlannedProvider]) -> dict[str, str]:
    """Each model by its name as OpenAI's API describes one, in JSON; owned by all that serve it."""
    owners: dict[str, list[str]] = {}
    for provider in providers:
        for model in provider.spec.models:
            owners.setdefault(model.name, []).append(provider.name)
    return {name: _model(name, ", ".join(owners[name])) for name in sorted(owners)}


def _model(name: str, owners: str) -> str:
    return f'{{"id": {json.dumps(name)}, "object": "model", "created": 0, "owned_by": {json.dumps(owners)}}}'


def apis_of(providers: Iterable[PlannedProvider]) -> dict[str, str]:
    """The APIs in which clients reach each provider, with spaces around them."""
    return {each.name: f" {' '.join(_apis(each))} " for each in providers}


def _apis(provider: PlannedProvider) -> tuple[str, ...]:
    return (*provider.spec.dialects, *provider.spec.translated, *provider.spec.endpoints)


def providers_of_models(providers: Iterable[PlannedProvider], most: int) -> dict[str, str]:
    """For a request without a decision: the providers of each model in the fixed order, with spaces.

    At most so many of each API, so a provider that has no API of its own to add may be left out.
    """
    serving: dict[str, list[str]] = {}
    room: dict[tuple[str, str], int] = {}
    # A draining provider comes after all others: no new conversation should begin there.
    for provider in sorted(providers, key=lambda provider: provider.spec.drain):
        apis = _apis(provider)
        for model in provider.spec.models:
            wanted = [(model.name, api) for api in apis if room.get((model.name, api), most)]
            room |= {each: room.get(each, most) - 1 for each in wanted}
            if wanted:
                serving.setdefault(model.name, []).append(provider.name)
    return {model: " ".join(names) for model, names in serving.items()}


def table(entries: Mapping[str, str]) -> str:
    """As `table.lua` looks a name up in it. Values are of one line and begin with no `=`."""
    return "".join(f"\n={_ESCAPED.sub(_percent, name)}\n{value}" for name, value in entries.items())


def _percent(match: re.Match[str]) -> str:
    return f"%{ord(match[0]):02X}"
