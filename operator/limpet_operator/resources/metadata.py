"""An object's metadata: kind, namespace, name, labels, generation; and what is wrong with them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from limpet_operator.resources.problem import DEFAULT_NAMESPACE, Invalid, ObjectKey, Problem, shown
from limpet_operator.resources.schema import KindSchema

_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LONGEST_NAME: Final = 253
LONGEST_NAMESPACE: Final = 63


@dataclass(frozen=True, slots=True)
class Metadata:
    """The part of an object's metadata that is used."""

    key: ObjectKey
    generation: int
    labels: Mapping[str, str]


def is_object_name(text: str) -> bool:
    """Whether an object may have this name, by the rules of Kubernetes."""
    return len(text) <= _LONGEST_NAME and _SUBDOMAIN.fullmatch(text) is not None


def read_metadata(raw: Mapping[str, Any]) -> tuple[Metadata | None, tuple[Problem, ...]]:
    """Metadata, where the object has a usable name, and what is wrong with it by the rules of Kubernetes."""
    metadata = raw.get("metadata")
    if not isinstance(metadata, dict) or metadata.get("name") is None:
        return None, (Problem("metadata.name", "is missing; give the object a name"),)
    name, namespace = metadata["name"], metadata.get("namespace") or DEFAULT_NAMESPACE
    if not (isinstance(name, str) and is_object_name(name)):
        message = (
            f"{shown(name)} is not a valid name; write lower-case letters, digits, '-' and '.' (only digits: in quotes)"
        )
        return None, (Problem("metadata.name", message),)
    if not (isinstance(namespace, str) and len(namespace) <= LONGEST_NAMESPACE and NAMESPACE.fullmatch(namespace)):
        message = f"{shown(namespace)} is not a valid namespace; write lower-case letters, digits and '-'"
        return None, (Problem("metadata.namespace", message),)
    problems = []
    labels = metadata.get("labels") or {}
    if not isinstance(labels, dict) or not all(isinstance(each, str) for pair in labels.items() for each in pair):
        problems.append(Problem("metadata.labels", "names and values must be strings; write them in quotes"))
        labels = {}
    generation = metadata.get("generation", 0)
    key = ObjectKey(raw["kind"], namespace, name)
    return Metadata(key, generation if isinstance(generation, int) else 0, labels), tuple(problems)


def read_object(raw: Mapping[str, Any], schema: KindSchema) -> tuple[Metadata, Any] | Invalid:
    """Metadata and the completed spec of one of our own kinds, or all that is wrong with the object."""
    metadata, problems = read_metadata(raw)
    completed, wrong = schema.complete(raw)
    problems += wrong
    if metadata is None or problems:
        return Invalid(metadata.key if metadata else None, problems)
    return metadata, completed["spec"]
