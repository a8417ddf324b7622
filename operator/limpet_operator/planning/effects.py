"""The checks behind the condition `Effective`: what an object sets that has no effect in this version, or not yet.

Such an object is valid and the rest of it is used. But an author who sets a field and sees "ok" relies on it, so
`limpet validate`, `limpet up` and the object's status report it. Of a chain all that fail are reported.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

from limpet_extproc.contract.apis import DialectName
from limpet_operator.planning import window_overlap
from limpet_operator.planning.checks import Check, ProbeInput, Subject
from limpet_operator.planning.finding import Finding, accepted, no_effect
from limpet_operator.planning.odd_prices import odd_prices
from limpet_operator.planning.probe_targets import speaks
from limpet_operator.planning.provider_checks import ProviderInput, credential_text
from limpet_operator.resources.healthprobe import CompletionCheck
from limpet_operator.resources.pricing import Pricing
from limpet_operator.resources.problem import did_you_mean
from limpet_operator.resources.provider import EnvVar, Provider
from limpet_operator.resources.stickypolicy import StickyPolicy

_SHOWN: Final = 5
_VERSIONED: Final = re.compile(r"/v\d|/deployments/")
"""Azure's paths of a deployment have their version in the query."""
_LAST_PART: Final[Mapping[DialectName, str]] = {
    "OpenAIChat": "/chat/completions",
    "OpenAIResponses": "/responses",
    "AnthropicMessages": "/messages",
}
_PLACEHOLDER: Final = re.compile(
    r"(?i)(replace|change)[-_ ]?(me|this)|(sk-)?your[-_ ].*|<.*>|(sk-)?(\.{3,}|…|x{3,}|\*{3,})|todo"
)
"""What examples have in place of a key."""


@dataclass(frozen=True, slots=True)
class PatternInput:
    """A StickyPolicy and the names of all models that it may apply to."""

    spec: StickyPolicy
    served: "ModelNames"


@dataclass(frozen=True, slots=True)
class ModelNames:
    """Model names, of which there may be thousands, in an index for patterns."""

    names: tuple[str, ...]
    """Sorted."""

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """These, in any order."""
        return cls(tuple(sorted(names)))

    def match(self, pattern: str) -> bool:
        """Whether one of them equals the pattern, or begins with it if it ends with `*`."""
        beginning = pattern.removesuffix("*")
        place = bisect_left(self.names, beginning)
        found = self.names[place] if place < len(self.names) else None
        return found is not None and (found.startswith(beginning) if pattern.endswith("*") else found == pattern)


def all_findings(effects: tuple[Check[Subject], ...], subject: Subject) -> tuple[Finding, ...]:
    """All that fail, in the chain's order."""
    return tuple(finding for effect in effects if (finding := effect(subject)) is not None)


def names_are_names(subject: ProviderInput) -> Finding | None:
    """No model's name was meant as a pattern."""
    for model in subject.spec.models:
        if "*" in model.name:
            message = f'the model name "{model.name}" is not a pattern and matches only requests for exactly this name'
            return no_effect("NotAPattern", f"{message}; list the models one by one")
    return None


def key_was_written(subject: ProviderInput) -> Finding | None:
    """The API key is not the placeholder of an example."""
    credential, text = subject.spec.credential, credential_text(subject)
    if credential is None or text is None or not _PLACEHOLDER.fullmatch(text.strip()):
        return None
    source = credential.source
    where = f"variable {source.name}" if isinstance(source, EnvVar) else f"key {source.key} of Secret {source.name}"
    return no_effect("PlaceholderKey", f"{where} still holds the placeholder of an example; store the API key")


def provider_fields_count(subject: ProviderInput) -> Finding | None:
    """Each field of the Provider changes something."""
    return _unused((*subject.spec.unused_fields, *_idle_prompt_caching(subject.spec)))


def _idle_prompt_caching(spec: Provider) -> Iterator[str]:
    if spec.prompt_caching != "Auto":
        return
    idle = "spec.promptCaching: Auto has no effect"
    read = spec.cache_fields.cache_control
    if not any(read.get(dialect, "None") != "None" for dialect in spec.dialects):
        apis = " and ".join(spec.dialects) or "spec.endpoints"
        yield f"{idle}: vendor {spec.vendor} reads no cache_control in {apis}"
    elif not spec.cache.caches:
        yield f"{idle} at a provider without a prompt cache; describe the one that it has in spec.cache"


def path_has_version(subject: ProviderInput) -> Finding | None:
    """The path of an API that begins with /v1 everywhere has a version."""
    spec = subject.spec
    for dialect in spec.dialects:
        path = spec.prefix_of(dialect)
        always = dialect == "AnthropicMessages" or spec.vendor == "OpenAI"
        if not always or _VERSIONED.search(path):
            continue
        where = "spec.url" if path == spec.url.path_prefix else f"spec.paths.{dialect}"
        asked = f"{dialect} is asked for at {path}{_LAST_PART[dialect]}, without /v1"
        advice = f"if it is at {path}/v1{_LAST_PART[dialect]}, as at the vendor itself, let {where} end in {path}/v1"
        return no_effect("PathWithoutVersion", f"{asked}; {advice}")
    return None


def windows_hold(subject: Pricing) -> Finding | None:
    """Each window holds at some time for a model, as no earlier ones cover it."""
    covered = window_overlap.covered(subject.windows)
    if not covered:
        return None
    names = ", ".join(covered[:_SHOWN])
    message = f"window {names} never holds: earlier windows in spec.windows cover its hours, and the first holds"
    return no_effect("WindowCovered", f"{message}; put the more special one first")


def how_prices_are_read(subject: Pricing) -> Finding | None:
    """Which of two windows holds where both could, and prices that are seldom meant; None: nothing needs a word."""
    words = [f"{first} holds where {later} would too" for first, later in window_overlap.overlapping(subject.windows)]
    wins = [f"of windows that overlap the first in spec.windows holds: {', '.join(words[:_SHOWN])}"] if words else []
    texts = [*wins, *odd_prices(subject.prices)]
    return accepted("; ".join(texts)) if texts else None


def windows_change_prices(subject: Pricing) -> Finding | None:
    """Each model that has a price in a window has a usual one."""
    for window in subject.windows:
        for model in sorted(window.models or ()):
            if model not in subject.prices:
                message = f"window {window.name} prices {model}, which is not in spec.models and so has no usual price"
                near = did_you_mean(model, subject.prices)
                return no_effect("NoUsualPrice", f"{message}; add it there, or correct the name{near}")
    return None


def age_counts(subject: Pricing) -> Finding | None:
    """Prices that shall turn stale have a date."""
    if subject.stale_after_s is None or subject.read_on is not None:
        return None
    message = "spec.staleAfter has no effect: spec.source.retrieved, from which it counts, is not set or no date"
    return no_effect("FieldWithoutEffect", message)


def probed_dialect_is_spoken(subject: ProbeInput) -> Finding | None:
    """Every Provider that is probed by a completion holds conversations."""
    if not isinstance(subject.spec.check, CompletionCheck):
        return None
    silent = next((each for each in subject.selected if not speaks(each)), None)
    if silent is None:
        return None
    message = f"Provider {silent.key.name} is not probed, as its spec.dialects are empty: it gives no completions"
    return no_effect("NoCompletions", f"{message}; probe it by spec.http")


def probed_path_is_whole(subject: ProbeInput) -> Finding | None:
    """The probe's path does not repeat the end of a Provider's url, to which it is added."""
    check = subject.spec.check
    if isinstance(check, CompletionCheck):
        return None
    first = check.path.split("/")[1]
    for provider in subject.selected:
        prefix = provider.url.path_prefix
        if first and prefix.rpartition("/")[2] == first:
            asked = f"spec.http.path is added to the url of Provider {provider.key.name}, so it asks for {prefix}"
            rest = check.path.removeprefix(f"/{first}") or "/"
            return no_effect("PathRepeated", f"{asked}{check.path}; if /{first} is not there twice, write {rest}")
    return None


def patterns_match(subject: PatternInput) -> Finding | None:
    """Each of the policy's patterns matches a model that is served; `*` always does."""
    idle = [pattern for pattern in subject.spec.policy.models if pattern != "*" and not subject.served.match(pattern)]
    if not idle:
        return None
    shown = ", ".join(f'"{pattern}"' for pattern in idle[:_SHOWN])
    more = f" and {len(idle) - _SHOWN} more" if len(idle) > _SHOWN else ""
    message = f"no Provider serves a model named {shown}{more}"
    return no_effect("MatchesNothing", f"{message}; correct spec.models, GET /v1/models lists the names")


def _unused(fields: tuple[str, ...]) -> Finding | None:
    if not fields:
        return None
    return no_effect("FieldWithoutEffect", "; ".join(fields))


PROVIDER_EFFECTS: tuple[Check[ProviderInput], ...] = (
    names_are_names,
    key_was_written,
    provider_fields_count,
    path_has_version,
)
PRICING_EFFECTS: tuple[Check[Pricing], ...] = (windows_hold, windows_change_prices, age_counts)
PROBE_EFFECTS: tuple[Check[ProbeInput], ...] = (probed_dialect_is_spoken, probed_path_is_whole)
POLICY_EFFECTS: tuple[Check[PatternInput], ...] = (patterns_match,)
