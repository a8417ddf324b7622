"""Fields that the schemas have and this version makes no use of."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

_IDLE: Final[Mapping[str, Mapping[str, str]]] = {
    "Provider": {"cache.blockTokens": "no decision depends on it"},
    "Pricing": {
        "windows": "the prices of spec.models hold at all hours",
        "models[].perMillionTokens.cacheWrite1h": "writes count by cacheWrite",
    },
}
"""By kind: the path below `spec`, and what holds in its place."""


def idle_fields(kind: str, spec: Mapping[str, Any]) -> tuple[str, ...]:
    """What is said of each such field that is written in this spec."""
    return tuple(
        f"spec.{path} has no effect in this version: {instead}"
        for path, instead in _IDLE.get(kind, {}).items()
        if any(True for _ in _found(spec, path.split(".")))
    )


def _found(value: Any, path: list[str]) -> Iterator[Any]:
    """The values at a path; `[]` after a name stands for each item of a list. An empty list is nothing."""
    if not path:
        if value not in (None, []):
            yield value
        return
    name, *rest = path
    below = value.get(name.removesuffix("[]")) if isinstance(value, Mapping) else None
    for each in (below or ()) if name.endswith("[]") else (below,):
        yield from _found(each, rest)
