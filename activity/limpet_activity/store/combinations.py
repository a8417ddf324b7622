"""The combinations of values that records have, and how many there may be of them, whatever clients send.

Each record is of one *full* combination, which has all its values. For each of these there are coarser ones, which have
one value or none, as SQL's GROUPING SETS have: so a question about one provider, or about everything, reads few rows.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from limpet_activity.store.facts import OTHERS, facet_of, has_failed
from limpet_activity.store.port import Facet
from limpet_extproc.contract.activity import ActivityRecord

GroupingSet: TypeAlias = Literal["full", "total", "asked", "provider", "model", "tenant", "reason", "cause", "gateway"]
"""Which values a combination has. `provider` has the one that answered; `asked` is one that answered or was tried."""

MOST_COMBINATIONS: Final = 50_000
"""Full ones with all their values. Beyond, there is room for a tenth as many without a tenant of their own, then for as
many that have no model and no gateway either; then all are one."""

MOST_NAMES: Final[Mapping[str, int]] = {
    "provider": 500,
    "tried": 500,
    "model": 1_000,
    "tenant": 1_000,
    "reason": 200,
    "cause": 100,
    "gateway": 500,
}
"""Different values of each; the others are `(others)`."""

MOST_UNTRIED_MODELS: Final = 100
"""Models that no provider was asked for, which clients invent."""

_TOLD: Final[tuple[Facet, ...]] = ("model", "tenant", "reason", "cause", "gateway")

_BETWEEN: Final = " "
"""Of the providers that were tried; no name has a space."""


class Combination(NamedTuple):
    """All that a record can be counted by; a coarser one has most values empty."""

    grouping_set: GroupingSet
    provider: str = ""
    tried: str = ""
    """Others than the one that answered: ` alpha beta `; empty: none."""
    model: str = ""
    tenant: str = ""
    reason: str = ""
    cause: str = ""
    gateway: str = ""
    failed: int = 0


def combination_of(record: ActivityRecord) -> Combination:
    """Its full combination, with all its values."""
    attempts, provider = record.attempts, record.provider
    # As almost all have been: by one provider.
    one = len(attempts) == 1 and attempts[0].provider == provider
    others = [] if one else sorted({each.provider for each in attempts} - {provider})
    return Combination(
        "full",
        provider,
        f"{_BETWEEN}{_BETWEEN.join(others)}{_BETWEEN}" if others else "",
        record.model,
        facet_of(record, "tenant"),
        record.reason,
        facet_of(record, "cause"),
        record.gateway,
        int(has_failed(record)),
    )


def others_of(record: ActivityRecord, combination: Combination) -> dict[Facet, str]:
    """The values of a record that its combination does not tell; `provider`: all that were tried, as in its `tried`."""
    found: dict[Facet, str] = {}
    if OTHERS in (combination.provider, combination.tried):
        found["provider"] = _BETWEEN.join(("", *sorted({record.provider, *(t.provider for t in record.attempts)}), ""))
    for name in _TOLD:
        if getattr(combination, name) == OTHERS:
            found[name] = facet_of(record, name)
    return found


def tried_pattern(provider: str) -> str:
    """What `tried` contains if this one was."""
    return f"{_BETWEEN}{provider}{_BETWEEN}"


def coarser_of(combination: Combination) -> Iterator[Combination]:
    """The coarser combinations that its records count in, too."""
    failed = combination.failed
    yield Combination("total", failed=failed)
    yield Combination("provider", provider=combination.provider, failed=failed)
    for asked in {combination.provider, *combination.tried.split()}:
        yield Combination("asked", provider=asked, failed=failed)
    yield Combination("model", model=combination.model, failed=failed)
    yield Combination("tenant", tenant=combination.tenant, failed=failed)
    yield Combination("reason", reason=combination.reason, failed=failed)
    yield Combination("cause", cause=combination.cause, failed=failed)
    yield Combination("gateway", gateway=combination.gateway, failed=failed)


class CombinationNumbers(NamedTuple):
    """Of one full combination."""

    full: int
    coarser: tuple[int, ...]
    """Of those that its records count in, too."""


class KnownCombinations:
    """The combinations that there are, with their numbers, and the room for more. Not thread-safe."""

    def __init__(self, most: int = MOST_COMBINATIONS, names: Mapping[str, int] = MOST_NAMES) -> None:
        self._most: Final = most
        self._spare: Final = most // 10
        self._most_names: Final = names
        self._numbers: Final[dict[Combination, int]] = {}
        self._names: Final[dict[str, set[str]]] = {name: set() for name in names}
        self._untried_models: Final[set[str]] = set()
        self._full_numbers: Final[dict[Combination, CombinationNumbers]] = {}
        self._full = 0
        self._added: list[Combination] = []
        self.last = 0
        """The highest number of a combination."""

    def load(self, rows: Iterable[tuple[int, Combination]]) -> None:
        """Combinations that are in the database."""
        for number, combination in rows:
            if combination not in self._numbers:
                self._remember(number, combination)

    def clear(self) -> None:
        """Know none."""
        self._numbers.clear()
        self._untried_models.clear()
        self._full_numbers.clear()
        for names in self._names.values():
            names.clear()
        self._added = []
        self._full = self.last = 0

    def fitted(self, combination: Combination) -> Combination:
        """The same if there is room for it, else with `(others)` in place of some of its values."""
        if combination in self._numbers:
            return combination
        fitted = combination._replace(
            provider=self._name("provider", combination.provider),
            tried=self._name("tried", combination.tried),
            model=self._model(combination),
            tenant=self._name("tenant", combination.tenant),
            reason=self._name("reason", combination.reason),
            cause=self._name("cause", combination.cause),
            gateway=self._name("gateway", combination.gateway),
        )
        for most, coarser in (
            (self._most, fitted),
            (self._most + self._spare, fitted._replace(tenant=OTHERS)),
            (self._most + 2 * self._spare, fitted._replace(tenant=OTHERS, model=OTHERS, gateway=OTHERS)),
        ):
            if coarser in self._numbers or self._full < most:
                return coarser
        return Combination("full", OTHERS, OTHERS, OTHERS, OTHERS, OTHERS, OTHERS, OTHERS, combination.failed)

    def numbers(self, combination: Combination) -> CombinationNumbers:
        """Of a combination that `fitted` returned: new ones where there are none."""
        known = self._full_numbers.get(combination)
        if known is None:
            known = CombinationNumbers(self._number(combination), tuple(map(self._number, coarser_of(combination))))
            self._full_numbers[combination] = known
        return known

    def _number(self, combination: Combination) -> int:
        number = self._numbers.get(combination)
        if number is None:
            number = self.last + 1
            self._remember(number, combination)
            self._added.append(combination)
        return number

    def added(self) -> list[tuple[int, Combination]]:
        """What `numbers` has numbered since this was last called: to be written."""
        added, self._added = self._added, []
        return [(self._numbers[combination], combination) for combination in added]

    def _remember(self, number: int, combination: Combination) -> None:
        self._numbers[combination] = number
        self.last = max(self.last, number)
        if combination.grouping_set != "full":
            return
        self._full += 1
        for name, known in self._names.items():
            known.add(getattr(combination, name))
        if not combination.provider and not combination.tried:
            self._untried_models.add(combination.model)

    def _name(self, name: str, value: str) -> str:
        known = self._names[name]
        return value if not value or value in known or len(known) < self._most_names[name] else OTHERS

    def _model(self, combination: Combination) -> str:
        if combination.provider or combination.tried or combination.model in self._names["model"]:
            return self._name("model", combination.model)
        return self._name("model", combination.model) if len(self._untried_models) < MOST_UNTRIED_MODELS else OTHERS
