"""YAML text -> documents, as kubectl reads them: no dates, no repeated keys; a bad document affects only itself."""

import json
import re
from collections.abc import Hashable, Iterator
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import yaml


class Chunk(NamedTuple):
    """The text of one document and how many lines of the file come before it."""

    text: str
    lines_before: int


class UnreadableError(Exception):
    """A document that is not YAML or JSON: the line within its chunk, from 1, and what is wrong there."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


_SEPARATOR = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_HAS_CONTENT = re.compile(r"^[ \t]*[^#\s]", re.MULTILINE)


def split(text: str) -> Iterator[Chunk]:
    """The documents with more than comments; in YAML a line that begins with `---` always separates two."""
    text = text.removeprefix("\ufeff")
    if text.startswith("%"):
        # A directive belongs to the document after its separator, so such a (rare) file is not split.
        yield Chunk(text, 0)
        return
    starts = [0, *(found.start() for found in _SEPARATOR.finditer(text)), len(text)]
    lines = 0
    for start, end in pairwise(starts):
        chunk = text[start:end]
        if _HAS_CONTENT.search(chunk.removeprefix("---")):
            yield Chunk(chunk, lines)
        lines += chunk.count("\n")


def read_yaml(text: str) -> Any:
    """One document. Raises UnreadableError."""
    try:
        return yaml.load(text, _KubernetesLoader)  # noqa: S506 — a SafeLoader, with fewer types still
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UnreadableError(
            mark.line + 1 if mark else 1, f"not valid YAML: {error.problem or error.context}"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UnreadableError(1, f"not valid YAML: {str(error).splitlines()[0]}") from error


def read_json(text: str) -> Any:
    """One document. Raises UnreadableError."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise UnreadableError(error.lineno, f"not valid JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise UnreadableError(1, f"not valid JSON: {error}") from error


class _KubernetesLoader(yaml.CSafeLoader):
    """YAML as kubectl reads it: `18:00` and `2026-11-20` are strings, `y` and `Off` are not, no key is repeated.

    Unlike there a key is the text that is written: in a Secret's data `no` names an entry, and `1.10` is not `1.1`.
    """

    bool_values: ClassVar[dict[str, bool]] = {**yaml.CSafeLoader.bool_values, "y": True, "n": False}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value} is repeated", key.start_mark
                    )
                seen.add(key.value)
                key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)


_KubernetesLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"y|Y|n|N|yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO"),
    ("int", r"[-+]?(0|[1-9][0-9]*|0x[0-9a-fA-F]+|0b[01]+|0[0-7]+)", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)", "-+0123456789."),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _KubernetesLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), list(_first))
