"""Secrets and ConfigMaps: the built-in kinds that credentials and certificate authorities are read from."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from limpet_operator.resources.client_keys import is_for_clients
from limpet_operator.resources.metadata import Metadata, read_metadata
from limpet_operator.resources.problem import Invalid, ObjectKey, Problem


@dataclass(frozen=True, slots=True)
class SecretText:
    """A text that no log, traceback or test report shows; `reveal` is the only way to it."""

    _text: str = field(repr=False)

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __str__(self) -> str:
        return repr(self)


@dataclass(frozen=True, slots=True)
class SecretObject:
    """A Secret, decoded; its values never show."""

    key: ObjectKey
    values: Mapping[str, bytes] = field(repr=False)
    for_clients: bool = False
    """Whether its entries are keys of clients."""


@dataclass(frozen=True, slots=True)
class ConfigMapObject:
    """A ConfigMap; only certificate authorities are read from it."""

    key: ObjectKey
    values: Mapping[str, bytes] = field(repr=False)


def parse_secret(raw: Mapping[str, Any]) -> SecretObject | Invalid:
    """Reads a v1 Secret: `data` in base64, `stringData` as it is; the latter wins, as in Kubernetes."""
    read = _read(raw, base64_in="data", plain_in="stringData")
    if isinstance(read, Invalid):
        return read
    metadata, values = read
    return SecretObject(metadata.key, values, is_for_clients(metadata.labels))


def parse_configmap(raw: Mapping[str, Any]) -> ConfigMapObject | Invalid:
    """Reads a v1 ConfigMap: `data` as it is, `binaryData` in base64."""
    read = _read(raw, base64_in="binaryData", plain_in="data")
    return read if isinstance(read, Invalid) else ConfigMapObject(read[0].key, read[1])


def _read(raw: Mapping[str, Any], base64_in: str, plain_in: str) -> tuple[Metadata, Mapping[str, bytes]] | Invalid:
    metadata, found = read_metadata(raw)
    problems = list(found)
    values: dict[str, bytes] = {}
    for field_name in (base64_in, plain_in):
        entries = raw.get(field_name) or {}
        if not isinstance(entries, dict):
            problems.append(Problem(field_name, "write keys and values below it"))
            continue
        for key, value in entries.items():
            path = f"{field_name}.{key}"
            if not isinstance(value, str):
                problems.append(Problem(path, "is not a string; write it in quotes"))
                continue
            try:
                values[str(key)] = value.encode() if field_name == plain_in else _decoded(value, plain_in)
            except ValueError as error:
                problems.append(Problem(path, str(error)))
    if metadata is None or problems:
        return Invalid(metadata.key if metadata else None, tuple(problems))
    return metadata, values


def _decoded(text: str, plain_in: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        # Without the value: it may be a key.
        raise ValueError(f"is not base64; encode it, or write it as it is below {plain_in}") from error
