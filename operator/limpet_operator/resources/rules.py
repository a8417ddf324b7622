"""The CEL rules of our CRDs, as Python predicates.

A rule and its message stand only in the CRDs; the API server evaluates the CEL, a laptop the predicates built here.
Only the few shapes of rule that the CRDs use are supported, and any other is rejected when the CRDs are loaded, so no
rule can be enforced in a cluster and forgotten on a laptop.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from limpet_operator.resources.durations import parse_duration

Predicate = Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule at one place of the schema: whether a value satisfies it, the message if not, and for which field."""

    holds: Predicate
    message: str
    field: str


def _matches(pattern: str) -> Predicate:
    # In CEL (RE2) a final $ is the end of the text; in Python it also precedes a final newline.
    compiled = re.compile(pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern)
    return lambda value: compiled.search(value) is not None


def _matches_not(pattern: str) -> Predicate:
    matches = _matches(pattern)
    return lambda value: not matches(value)


def _named_in_one_only(names: str, objects: str, field: str) -> Predicate:
    return lambda value: not any(each[field] in value.get(names, ()) for each in value.get(objects, ()))


def _exactly_one(first: str, second: str) -> Predicate:
    return lambda value: (first in value) != (second in value)


def _differ(first: str, second: str) -> Predicate:
    return lambda value: bool(value[first] != value[second])


def _only_with_prefix(optional: str, field: str, prefix: str) -> Predicate:
    return lambda value: optional not in value or value[field].startswith(prefix)


def _only_with_value(optional: str, field: str, value: str) -> Predicate:
    return lambda fields: optional not in fields or fields[field] == value


def _at_least(minimum: str) -> Predicate:
    return lambda value: bool(value >= int(minimum))


def _no_longer_than(shorter: str, longer: str) -> Predicate:
    def holds(value: Mapping[str, str]) -> bool:
        try:
            return parse_duration(value[shorter]) <= parse_duration(value[longer])
        except ValueError:
            return True  # the field's own rule says what is wrong with it

    return holds


def _shorter_if_set(parent: str, optional: str, longer: str) -> Predicate:
    def holds(value: Mapping[str, Any]) -> bool:
        if optional not in value[parent]:
            return True
        try:
            return parse_duration(value[parent][optional]) < parse_duration(value[longer])
        except ValueError:
            return True  # the field's own rule says what is wrong with it

    return holds


def _ascends(pattern: str, low_end: str, high_start: str) -> Predicate:
    matches = _matches(pattern)
    return lambda value: not matches(value) or bool(value[: int(low_end)] <= value[int(high_start) :])


def _at_least_duration(least: str) -> Predicate:
    least_s = parse_duration(least)

    def holds(value: str) -> bool:
        try:
            return parse_duration(value) >= least_s
        except ValueError:
            return True  # another rule says what is wrong with it

    return holds


_SHAPES: tuple[tuple[re.Pattern[str], Callable[..., Predicate]], ...] = (
    (re.compile(r"self\.matches\(r?'([^']+)'\)"), _matches),
    (re.compile(r"!self\.matches\(r?'([^']+)'\)"), _matches_not),
    (
        re.compile(r"!has\(self\.(\w+)\) \|\| !has\(self\.(\w+)\) \|\| !self\.\2\.exists\(h, h\.(\w+) in self\.\1\)"),
        _named_in_one_only,
    ),
    (re.compile(r"has\(self\.(\w+)\) != has\(self\.(\w+)\)"), _exactly_one),
    (re.compile(r"self\.(\w+) != self\.(\w+)"), _differ),
    (re.compile(r"!has\(self\.(\w+)\) \|\| self\.(\w+)\.startsWith\('([^']+)'\)"), _only_with_prefix),
    (re.compile(r"!has\(self\.(\w+)\) \|\| self\.(\w+) == '([^']+)'"), _only_with_value),
    (re.compile(r"self >= (\d+)"), _at_least),
    (re.compile(r"!self\.matches\('[^']+'\) \|\| duration\(self\) >= duration\('(\w+)'\)"), _at_least_duration),
    (
        # In a cluster, comparing an invalid duration would add CEL's own error to that of the field.
        re.compile(
            r"\[self\.(\w+), self\.(\w+)\]\.exists\(d, !d\.matches\('[^']+'\)\)"
            r" \|\| duration\(self\.\1\) <= duration\(self\.\2\)"
        ),
        _no_longer_than,
    ),
    (
        re.compile(
            r"!has\(self\.(\w+)\.(\w+)\) \|\| \[self\.\1\.\2, self\.(\w+)\]\.exists\(d, !d\.matches\('[^']+'\)\)"
            r" \|\| duration\(self\.\1\.\2\) < duration\(self\.\3\)"
        ),
        _shorter_if_set,
    ),
    (
        re.compile(r"!self\.matches\('([^']+)'\) \|\| self\.substring\(0, (\d)\) <= self\.substring\((\d)\)"),
        _ascends,
    ),
)


def compile_rule(rule: Mapping[str, str]) -> Rule:
    """An item of `x-kubernetes-validations`. Raises ValueError for a shape of CEL that is not supported here."""
    for shape, build in _SHAPES:
        if found := shape.fullmatch(rule["rule"]):
            return Rule(build(*found.groups()), rule["message"], rule.get("fieldPath", ""))
    raise ValueError(f"the CEL rule {rule['rule']!r} has a shape that rules.py does not know; add the shape there")
