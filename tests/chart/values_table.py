"""The table of values in the chart's README, made from values.yaml and its comments.

`python -m tests.chart.values_table` prints it.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from tests.chart.rendered import CHART

_KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z]\w*):")
_WHOLE = ("resources", "labels", "podSecurityContext", "securityContext")
"""Mappings that are one value to their reader."""


@dataclass(frozen=True, slots=True)
class Row:
    """One value: its path with dots, its default, and the comment above it."""

    path: str
    default: Any
    meaning: str


def rows(text: str) -> Iterator[Row]:
    """All values of a values.yaml in its order."""
    values = yaml.safe_load(text)
    path: list[str] = []
    comment: list[str] = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            comment.append(line.strip().removeprefix("#").strip())
            continue
        if match := _KEY.match(line):
            path = [*path[: len(match["indent"]) // 2], match["key"]]
            if not set(path[:-1]) & set(_WHOLE):
                default = values
                for key in path:
                    default = default[key]
                if not (isinstance(default, dict) and default) or path[-1] in _WHOLE:
                    yield Row(".".join(path), default, " ".join(comment))
        comment = []


def table(text: str) -> str:
    """The same for readers, in Markdown."""
    lines = ["| value | default | what it is |", "|---|---|---|"]
    lines += [
        f"| `{row.path}` | `{json.dumps(row.default)}` | {row.meaning.replace('|', '&#124;')} |" for row in rows(text)
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(table((CHART / "values.yaml").read_text()))
