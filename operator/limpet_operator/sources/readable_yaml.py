"""Objects as YAML that a person would write and goes on to edit."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import yaml

_READ_AS_TRUTH: Final = ("y", "n")
"""Which YAML 1.1 reads as true and false, although this library writes them plain."""


def readable_yaml(objects: Iterable[Mapping[str, Any]]) -> str:
    """One document each; what is short stands on one line, and all texts that look like numbers in quotes."""
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=140)


class _Dumper(yaml.SafeDumper):
    """Short objects and lists of texts on one line, texts of several lines as blocks."""

    def ignore_aliases(self, data: object) -> bool:
        """No references: people edit this."""
        return True

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        """On one line where it holds nothing but single values."""
        flat = not any(isinstance(each, dict | list) or "\n" in str(each) for each in mapping.values())
        named = "apiVersion" in mapping
        return super().represent_mapping(tag, mapping, flow_style=flat and not named)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    quoted = text[:1].isdigit() or text[:1] in "+-." or text.lower() in _READ_AS_TRUTH
    style = "|" if "\n" in text else '"' if quoted else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _represent_list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.SequenceNode:
    flat = not any(isinstance(each, dict | list) for each in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=flat)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_representer(list, _represent_list)
