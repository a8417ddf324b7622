"""Whether an object fits its CRD: the same schema, defaults and rules on a laptop as in the API server.

The order is the API server's: defaults are filled in, the structural schema is checked, and the rules only if that
fits. Unknown fields are errors here (the API server would drop them silently), nulls count as absent where a default
exists.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Final, Self

import jsonschema
import yaml

from limpet_operator.resources.problem import HIDDEN, Problem, did_you_mean, shown
from limpet_operator.resources.rules import Rule, compile_rule

_ARTICLED = {
    "object": "fields below it",
    "array": "a list",
    "string": "a string",
    "integer": "a whole number",
    "boolean": "true or false",
}
_SECRET_PLACES: Final = re.compile(r"spec\.credential(\.env|\.secretRef(\.\w+)?)?|.*\.value")
"""Where people write a key although its name is required: messages never repeat the value."""
_VALUE_KEYWORDS = (
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "maxProperties",
    "required",
)


@dataclass(frozen=True, slots=True)
class _SchemaNode:
    """A place in the schema, compiled: what is filled in, named or ruled there."""

    hint: str
    """What belongs here: the first sentence of the description."""
    properties: Mapping[str, "_SchemaNode"] | None
    defaults: Mapping[str, Any]
    items: "_SchemaNode | None"
    identity: tuple[str, ...] | None
    """What identifies an item: its key fields in a map list, the whole item (no fields) in a set; None: nothing."""
    rules: tuple[Rule, ...]

    @property
    def duration(self) -> bool:
        """Whether a duration belongs here."""
        return any(rule.message.startswith("must be a duration") for rule in self.rules)

    @classmethod
    def compile(cls, schema: Mapping[str, Any]) -> Self:
        properties = schema.get("properties")
        items = schema.get("items")
        kind = schema.get("x-kubernetes-list-type")
        return cls(
            hint=_first_sentence(schema.get("description", "")),
            properties=None if properties is None else {name: cls.compile(below) for name, below in properties.items()},
            defaults={name: below["default"] for name, below in (properties or {}).items() if "default" in below},
            items=None if items is None else cls.compile(items),
            identity=tuple(schema["x-kubernetes-list-map-keys"]) if kind == "map" else () if kind == "set" else None,
            rules=tuple(map(compile_rule, schema.get("x-kubernetes-validations", ()))),
        )


class KindSchema:
    """One CRD's `openAPIV3Schema`, compiled once and used for every object of the kind."""

    def __init__(self, crd: Mapping[str, Any]) -> None:
        root = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        above = {name: value for name, value in root["properties"].items() if name not in ("status", "metadata")}
        own = {**root, "properties": above}
        self.kind: str = crd["spec"]["names"]["kind"]
        self._root = _SchemaNode.compile(own)
        self._validator = jsonschema.Draft202012Validator(_as_json_schema(own))

    def complete(self, raw: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[Problem, ...]]:
        """A copy with the defaults filled in, without metadata and status; and everything that is wrong with it."""
        problems: list[Problem] = []
        own = {name: value for name, value in raw.items() if name not in ("status", "metadata")}
        completed = _fill(self._root, own, "", problems)
        errors = list(self._validator.iter_errors(completed))
        mistyped = {tuple(error.absolute_path) for error in errors if error.validator == "type"}
        for error in errors:
            # A value of the wrong type violates other keywords too, which would only repeat that it is wrong.
            if error.validator == "type" or tuple(error.absolute_path) not in mistyped:
                problems.extend(_explain(error, self._root))
        if not problems:
            problems.extend(_broken_rules(self._root, completed, ""))
        return completed, tuple(dict.fromkeys(problems))


def load_crds(directory: Traversable | None = None) -> list[Mapping[str, Any]]:
    """The CRDs as they are applied: from the installed package, or from the repository when it is used in place."""
    folder = directory or _crds_folder()
    return [yaml.load(file.read_bytes(), yaml.CSafeLoader) for file in folder.iterdir() if file.name.endswith(".yaml")]


def load_schemas(directory: Traversable | None = None) -> Mapping[str, KindSchema]:
    """The schemas by kind."""
    return {schema.kind: schema for schema in map(KindSchema, load_crds(directory))}


def _crds_folder() -> Traversable:
    installed = files("limpet_operator") / "crds"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[3] / "crds"


def _first_sentence(description: str) -> str:
    return re.split(r"[.;] ", description.removesuffix("."), maxsplit=1)[0]


def _as_json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The part that JSON Schema checks; defaults, unknown fields and rules are checked here."""
    out: dict[str, Any] = {name: schema[name] for name in _VALUE_KEYWORDS if name in schema}
    out["type"] = schema["type"]
    if "pattern" in schema:
        out["pattern"] = schema["pattern"].removesuffix("$") + r"\Z"
    if "properties" in schema:
        out["properties"] = {name: _as_json_schema(below) for name, below in schema["properties"].items()}
    for name in ("items", "additionalProperties"):
        if name in schema:
            out[name] = _as_json_schema(schema[name])
    return out


def _fill(node: _SchemaNode, value: Any, path: str, problems: list[Problem]) -> Any:
    """A copy with defaults; a value of another shape than the schema's is left to the validator."""
    if isinstance(value, dict) and node.properties is not None:
        filled = {}
        for name, below in value.items():
            here = _join(path, name)
            if (field := node.properties.get(name)) is None:
                problems.append(Problem(here, f"no such field{did_you_mean(str(name), node.properties)}"))
            elif below is not None or name not in node.defaults:
                filled[name] = _fill(field, below, here, problems)
        for name, default in node.defaults.items():
            if name not in filled:
                filled[name] = _fill(node.properties[name], default, _join(path, name), problems)
        return filled
    if isinstance(value, list) and node.items is not None:
        return [_fill(node.items, item, f"{path}[{index}]", problems) for index, item in enumerate(value)]
    return value


def _broken_rules(node: _SchemaNode, value: Any, path: str) -> Iterator[Problem]:
    for rule in node.rules:
        if not rule.holds(value):
            scalar = not isinstance(value, dict | list)
            message = f"{_shown_at(path, value)}: {rule.message}" if scalar else rule.message
            yield Problem(path + rule.field, message)
    if isinstance(value, dict) and node.properties is not None:
        for name, below in value.items():
            yield from _broken_rules(node.properties[name], below, _join(path, name))
    elif isinstance(value, list) and node.items is not None:
        if node.identity is not None:
            yield from _repeated(value, node.identity, path)
        for index, item in enumerate(value):
            yield from _broken_rules(node.items, item, f"{path}[{index}]")


def _repeated(items: list[Any], fields: tuple[str, ...], path: str) -> Iterator[Problem]:
    first: dict[Any, int] = {}
    for index, item in enumerate(items):
        same = tuple(item.get(field) for field in fields) if fields else item
        if first.setdefault(same, index) != index:
            where = f"{path}[{index}]" + (f".{fields[0]}" if fields else "")
            named = shown(same[0] if fields else same)
            yield Problem(where, f"{named} is a duplicate of item {first[same]}; remove one of them")


def _explain(error: jsonschema.ValidationError, root: _SchemaNode) -> Iterator[Problem]:
    path, node = "", root
    for step in error.absolute_path:
        path = f"{path}[{step}]" if isinstance(step, int) else _join(path, step)
        below = node.items if isinstance(step, int) else (node.properties or {}).get(step)
        node = below or _SchemaNode("", None, {}, None, None, ())
    limit: Any = error.validator_value
    value: Any = error.instance
    if error.validator == "required":
        for name in limit:
            if name not in value:
                field = (node.properties or {}).get(name)
                yield Problem(_join(path, name), f"is missing{_in_brackets(field.hint) if field else ''}")
        return
    quoted = _shown_at(path, value)
    if error.validator == "type" and node.duration and isinstance(value, int | float) and not isinstance(value, bool):
        yield Problem(path, f"is the number {quoted}; write it with a unit, such as {quoted}s")
        return
    words = error.schema.get("enum", ()) if isinstance(error.schema, Mapping) else ()
    yield Problem(path, _wrong_value(str(error.validator), limit, value, node.hint, quoted, words))


def _shown_at(path: str, value: Any) -> str:
    return HIDDEN if value is not None and _SECRET_PLACES.fullmatch(path) else shown(value)


def _wrong_value(keyword: str, limit: Any, value: Any, hint: str, quoted: str, words: Sequence[str]) -> str:
    """`words`: the only ones that belong here; empty: any."""
    match keyword:
        case "type":
            return _wrong_type(limit, value, quoted, words)
        case "enum":
            return f"{quoted} is not known; write one of {', '.join(limit)}{did_you_mean(str(value), limit)}"
        case "minimum" | "maximum":
            return f"is {quoted}; write {limit} or {'more' if keyword == 'minimum' else 'less'}"
        case "minItems":
            return f"is empty; write at least one{_in_brackets(hint)}"
        case "minLength":
            return f"is empty; write {_ARTICLED['string']}{_in_brackets(hint)}"
        case "maxLength":
            return f"is {len(value)} characters long; write {limit} or fewer"
        case "maxItems" | "maxProperties":
            return f"has {len(value)} entries; write {limit} or fewer"
        case _:
            return f"{quoted} does not fit{_in_brackets(hint)}"


def _wrong_type(expected: str, value: Any, quoted: str, words: Sequence[str]) -> str:
    if expected == "string" and isinstance(value, bool):
        read = f"is {quoted}, as YAML reads y, n, On, Off, Yes and No"
        if words and "Off" not in words:
            return f"{read}; write one of {', '.join(words)}"
        return f"{read}; write the word in quotes" + (', such as "Off"' if words else "")
    if expected == "string" and isinstance(value, int | float):
        return f"is the number {quoted}; write it in quotes" + ("" if quoted == HIDDEN else f': "{value}"')
    if value is None:
        return f"is empty; write {_ARTICLED[expected]} or remove the field"
    return f"is {quoted}; write {_ARTICLED[expected]}"


def _in_brackets(hint: str) -> str:
    word, space, rest = hint.partition(" ")
    return f" ({word.lower() if word.istitle() else word}{space}{rest})" if hint else ""


def _join(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)
