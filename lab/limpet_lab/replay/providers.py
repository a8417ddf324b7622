"""Providers and their prices from the user's own YAML, planned as `limpet up` plans them, without their keys."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from limpet_extproc.contract.catalog import Catalog
from limpet_operator.laptop.validate import lines_of, render_line
from limpet_operator.planning.plan import plan
from limpet_operator.publish.catalog import catalog
from limpet_operator.resources.objects import Parser
from limpet_operator.sources import files
from limpet_operator.sources.file_store import FileStore

_NEEDED_KINDS: Final = ("Provider", "Pricing", "StickyPolicy")
_NOT_NEEDED: Final = ("credential", "tls", "headers")
"""Of a Provider: nothing is sent."""


class ProvidersError(Exception):
    """There is nothing to plan with; the message says where and what to do."""


@dataclass(frozen=True, slots=True)
class KnownProviders:
    """What the decision knows, and each provider's vendor."""

    catalog: Catalog
    vendor_of: Mapping[str, str]
    problems: tuple[str, ...] = ()
    """Objects that cannot be used, and why."""


def load_providers(path: Path) -> KnownProviders:
    """The Providers and Pricings of a directory, or of one file. Raises ProvidersError."""
    if not path.exists():
        raise ProvidersError(f"{path} does not exist: name a directory of YAML files with Providers and Pricings")
    store = FileStore(Parser.load())
    scan = files.scan(path)
    store.replace(replace(each, raw=_without_keys(each.raw)) for each in scan.documents if _is_needed(each.raw))
    planned = plan(store.objects, {})
    lines = [render_line(line) for line in lines_of(store.readings, planned) if not line.ok]
    if not planned.providers:
        raise ProvidersError("\n".join((f"{path}: no Provider in it that can be used", *lines)))
    vendor_of = {each.name: each.spec.vendor for each in planned.providers}
    return KnownProviders(catalog(planned), vendor_of, tuple(lines))


def _is_needed(raw: Any) -> bool:
    return not isinstance(raw, dict) or raw.get("kind") in _NEEDED_KINDS


def _without_keys(raw: Any) -> Any:
    if not isinstance(raw, dict) or raw.get("kind") != "Provider" or not isinstance(raw.get("spec"), dict):
        return raw
    without = deepcopy(raw)
    for name in _NOT_NEEDED:
        without["spec"].pop(name, None)
    return without
