"""Fields that are in the schemas and that this version does not use."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

_UNUSED: Final[Mapping[str, Mapping[str, str]]] = {
    "Provider": {"cache.blockTokens": "no decision depends on it"},
}
"""By kind: the path below `spec`, and what applies instead."""


def unused_fields(kind: str, spec: Mapping[str, Any]) -> tuple[str, ...]:
    """A message about each such field that this spec sets."""
    return tuple(
        f"spec.{path} has no effect in this version: {instead}"
        for path, instead in _UNUSED.get(kind, {}).items()
        if any(True for _ in _found(spec, path.split(".")))
    )


def _found(value: Any, path: list[str]) -> Iterator[Any]:
    """The values at a path; `[]` after a name stands for each item of a list. An empty list has none."""
    if not path:
        if value not in (None, []):
            yield value
        return
    name, *rest = path
    below = value.get(name.removesuffix("[]")) if isinstance(value, Mapping) else None
    for each in (below or ()) if name.endswith("[]") else (below,):
        yield from _found(each, rest)
