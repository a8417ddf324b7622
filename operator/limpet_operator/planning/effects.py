"""What an object says that changes nothing in this version, or not yet: the checks behind the condition `Effective`.

Such an object is right, and is used as far as it goes. But who writes a field and is told "ok" relies on it, so each
of these is said by `limpet validate`, by `limpet up` and in the object's status. Of a chain all that fail are told.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from limpet_extproc.contract.catalog import SERVED_DIALECTS
from limpet_operator.planning.checks import Failure, ProviderInput, credential_text
from limpet_operator.resources.healthprobe import HealthProbe
from limpet_operator.resources.pricing import Pricing
from limpet_operator.resources.provider import EnvVar
from limpet_operator.resources.stickypolicy import StickyPolicy

Subject = TypeVar("Subject")
Effect = Callable[[Subject], Failure | None]

_SHOWN: Final = 5
_PLACEHOLDER: Final = re.compile(
    r"(?i)(replace|change)[-_ ]?(me|this)|(sk-)?your[-_ ].*|<.*>|(sk-)?(\.{3,}|…|x{3,}|\*{3,})|todo"
)
"""What examples have in the place of a key."""


@dataclass(frozen=True, slots=True)
class PatternInput:
    """A StickyPolicy and the names of all models that it may speak of."""

    spec: StickyPolicy
    served: "ModelNames"


class ModelNames:
    """Model names, of which there may be thousands, as patterns look for them."""

    def __init__(self, names: Iterable[str]) -> None:
        self._sorted = sorted(names)

    def match(self, pattern: str) -> bool:
        """Whether one of them is meant: by its whole name, or by its beginning before a `*` at the end."""
        beginning = pattern.removesuffix("*")
        place = bisect_left(self._sorted, beginning)
        found = self._sorted[place] if place < len(self._sorted) else None
        return found is not None and (found.startswith(beginning) if pattern.endswith("*") else found == pattern)


def all_failures(effects: tuple[Effect[Subject], ...], subject: Subject) -> tuple[Failure, ...]:
    """Everything that is without effect, in the chain's order."""
    return tuple(failure for effect in effects if (failure := effect(subject)) is not None)


def dialect_is_served(subject: ProviderInput) -> Failure | None:
    """The gateway can send requests there: both speak one API."""
    dialects = subject.spec.dialects
    if not SERVED_DIALECTS.isdisjoint(dialects):
        return None
    ours = ", ".join(sorted(SERVED_DIALECTS))
    message = f"it speaks only {', '.join(dialects)} and this version serves {ours}, so no request goes there"
    return Failure("DialectNotServed", f"{message}; write spec.dialects: [{ours}] if its endpoint has that too")


def names_are_names(subject: ProviderInput) -> Failure | None:
    """No model has a name that was meant as a pattern."""
    for model in subject.spec.models:
        if "*" in model.name:
            message = f'the model name "{model.name}" is no pattern: only a client that asks for exactly this is served'
            return Failure("NotAPattern", f"{message}; list the models one by one")
    return None


def key_was_written(subject: ProviderInput) -> Failure | None:
    """The API key is one, and not what an example has in its place."""
    credential, text = subject.spec.credential, credential_text(subject)
    if credential is None or text is None or not _PLACEHOLDER.fullmatch(text.strip()):
        return None
    source = credential.source
    where = f"variable {source.name}" if isinstance(source, EnvVar) else f"key {source.key} of Secret {source.name}"
    return Failure("PlaceholderKey", f"{where} still holds what stands in an example; write the API key")


def provider_fields_count(subject: ProviderInput) -> Failure | None:
    """Each field of the Provider changes something."""
    return _unused(subject.spec.idle_fields)


def pricing_fields_count(subject: Pricing) -> Failure | None:
    """Each field of the Pricing changes something."""
    return _unused(subject.idle_fields)


def providers_are_probed(_: HealthProbe) -> Failure | None:
    """Probing is not built yet."""
    message = "it is checked and kept, and this version asks nobody by it"
    return Failure("NotProbed", f"{message}; until then the answers to requests alone say what is up")


def patterns_match(subject: PatternInput) -> Failure | None:
    """Each of the policy's patterns means a model that is served; `*` always may."""
    idle = [pattern for pattern in subject.spec.policy.models if pattern != "*" and not subject.served.match(pattern)]
    if not idle:
        return None
    shown = ", ".join(f'"{pattern}"' for pattern in idle[:_SHOWN])
    more = f" and {len(idle) - _SHOWN} more" if len(idle) > _SHOWN else ""
    message = f"no Provider serves a model named {shown}{more}"
    return Failure("MatchesNothing", f"{message}; correct spec.models, GET /v1/models lists the names")


def _unused(fields: tuple[str, ...]) -> Failure | None:
    if not fields:
        return None
    return Failure("FieldWithoutEffect", "; ".join(fields))


PROVIDER_EFFECTS: tuple[Effect[ProviderInput], ...] = (
    dialect_is_served,
    names_are_names,
    key_was_written,
    provider_fields_count,
)
PRICING_EFFECTS: tuple[Effect[Pricing], ...] = (pricing_fields_count,)
PROBE_EFFECTS: tuple[Effect[HealthProbe], ...] = (providers_are_probed,)
POLICY_EFFECTS: tuple[Effect[PatternInput], ...] = (patterns_match,)
