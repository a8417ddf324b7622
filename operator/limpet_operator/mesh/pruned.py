"""Fields that an API server dropped, because the CRDs there are older than what was written."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def pruned(written: Mapping[str, Any], stored: Mapping[str, Any]) -> tuple[str, ...]:
    """Paths of what was written in `spec` and is not in what the API server returned; what it adds does not count."""
    return tuple(_lacking(written.get("spec"), stored.get("spec"), "spec"))


def _lacking(written: Any, stored: Any, path: str) -> Iterator[str]:
    if isinstance(written, Mapping):
        fields = stored if isinstance(stored, Mapping) else {}
        for name, value in written.items():
            if name in fields:
                yield from _lacking(value, fields[name], f"{path}.{name}")
            else:
                yield f"{path}.{name}"
    elif isinstance(written, Sequence) and not isinstance(written, str):
        items = stored if isinstance(stored, Sequence) else ()
        for number, value in enumerate(written):
            if number < len(items):
                yield from _lacking(value, items[number], f"{path}[{number}]")
            else:
                yield f"{path}[{number}]"
