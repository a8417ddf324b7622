"""Raw object -> typed object, for all kinds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any, Self, TypeVar, get_args

from limpet_operator.resources.healthprobe import HealthProbe, parse_healthprobe
from limpet_operator.resources.metadata import read_metadata
from limpet_operator.resources.pricing import Pricing, parse_pricing
from limpet_operator.resources.problem import (
    API_GROUP,
    API_VERSION,
    Invalid,
    ObjectKey,
    Problem,
    did_you_mean,
    shown,
)
from limpet_operator.resources.provider import Provider
from limpet_operator.resources.provider_parsing import parse_provider
from limpet_operator.resources.schema import KindSchema, load_schemas
from limpet_operator.resources.secret import ConfigMapObject, SecretObject, parse_configmap, parse_secret
from limpet_operator.resources.stickypolicy import StickyPolicy, parse_stickypolicy
from limpet_operator.resources.vendors import Vendor, load_vendors

Parsed = Provider | Pricing | HealthProbe | StickyPolicy | SecretObject | ConfigMapObject
ParsedT = TypeVar("ParsedT", bound=Parsed)


@dataclass(frozen=True, slots=True)
class Foreign:
    """A document that is not for Limpet, and why; it is skipped."""

    note: str


@dataclass(frozen=True)
class Objects:
    """All objects at one moment: the valid ones, and the last thing wrong with each of the others."""

    parsed: Mapping[ObjectKey, Parsed] = field(default_factory=dict)
    invalid: Mapping[ObjectKey, Invalid] = field(default_factory=dict)

    def of(self, kind: type[ParsedT]) -> Sequence[ParsedT]:
        """The valid ones of this kind, in the order of namespace and name."""
        return self._by_kind[kind]

    def find(self, kind: type[ParsedT], key: ObjectKey) -> ParsedT | Invalid | None:
        """The object of this name, or what is wrong with it; None: there is none."""
        found = self.parsed.get(key)
        return found if isinstance(found, kind) else self.invalid.get(key)

    @cached_property
    def _by_kind(self) -> Mapping[type, Sequence[Any]]:
        by_kind: dict[type, list[Any]] = {each: [] for each in get_args(Parsed)}
        for parsed in self.parsed.values():
            by_kind[type(parsed)].append(parsed)
        for each in by_kind.values():
            each.sort(key=attrgetter("key"))
        return by_kind


class Parser:
    """Parses objects of all kinds; holds the compiled schemas, so it is built once and passed on."""

    def __init__(self, schemas: Mapping[str, KindSchema], vendors: Mapping[str, Vendor]) -> None:
        self._own: Mapping[str, Callable[[Mapping[str, Any]], Parsed | Invalid]] = {
            "Provider": lambda raw: parse_provider(raw, schemas["Provider"], vendors),
            "Pricing": lambda raw: parse_pricing(raw, schemas["Pricing"]),
            "HealthProbe": lambda raw: parse_healthprobe(raw, schemas["HealthProbe"]),
            "StickyPolicy": lambda raw: parse_stickypolicy(raw, schemas["StickyPolicy"]),
        }

    @classmethod
    def load(cls) -> Self:
        """A parser with the schemas and presets of this installation."""
        return cls(load_schemas(), load_vendors())

    def parse(self, raw: Any) -> Parsed | Invalid | Foreign:
        """A raw object of any source, typed; never raises."""
        if not isinstance(raw, dict):
            return Invalid(
                None, (Problem("", f"is {shown(raw)}; write an object with apiVersion, kind, metadata and spec"),)
            )
        version, kind = raw.get("apiVersion"), raw.get("kind")
        if version is None and kind is None:
            return Foreign("not a Kubernetes object: it has neither apiVersion nor kind")
        if not isinstance(kind, str):
            return Invalid(None, (Problem("kind", f"is missing; write one of {', '.join(self._own)}"),))
        if version == "v1" and kind in ("Secret", "ConfigMap"):
            return parse_secret(raw) if kind == "Secret" else parse_configmap(raw)
        if version == API_VERSION and kind in self._own:
            return self._own[kind](raw)
        if kind in self._own or str(version).partition("/")[0] == API_GROUP:
            return self._unknown(raw, version, kind)
        return Foreign(f"{kind} of {shown(version)} is not a kind that Limpet reads")

    def _unknown(self, raw: Mapping[str, Any], version: object, kind: str) -> Invalid | Foreign:
        metadata, _ = read_metadata(raw)
        key = metadata.key if metadata else None
        if version is None:
            return Invalid(key, (Problem("apiVersion", f"is missing; write {API_VERSION}"),))
        if str(version).partition("/")[0] != API_GROUP:
            return Foreign(f"{kind} of {shown(version)} is not a kind that Limpet reads; ours is {API_VERSION}")
        if version != API_VERSION:
            return Invalid(key, (Problem("apiVersion", f"{shown(version)} is not known; write {API_VERSION}"),))
        advice = f"write one of {', '.join(self._own)}{did_you_mean(kind, self._own)}"
        return Invalid(key, (Problem("kind", f"{shown(kind)} is not known; {advice}"),))
