"""Kinds of records, and how many there may be of them, whatever clients send.

Each record is of one *full* kind, which has all its values. For each of them there are coarser ones, *cuts*, which have
one value or none: so a question about one provider, or about everything, reads few rows.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from limpet_activity.store.facts import OTHERS, facet_of, has_failed
from limpet_activity.store.port import Facet
from limpet_extproc.contract.activity import ActivityRecord

Cut: TypeAlias = Literal["full", "total", "asked", "provider", "model", "tenant", "reason", "cause", "gateway"]
"""Which values a kind has. `provider` has the one that answered; `asked` is one that answered or was tried."""

MOST_KINDS: Final = 50_000
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


class RecordKind(NamedTuple):
    """All that a record can be counted by; a cut has most values empty."""

    cut: Cut
    provider: str = ""
    tried: str = ""
    """Others than the one that answered: ` alpha beta `; empty: none."""
    model: str = ""
    tenant: str = ""
    reason: str = ""
    cause: str = ""
    gateway: str = ""
    failed: int = 0


def kind_of(record: ActivityRecord) -> RecordKind:
    """Its full kind, with all its values."""
    attempts, provider = record.attempts, record.provider
    # As almost all have been: by one provider.
    one = len(attempts) == 1 and attempts[0].provider == provider
    others = [] if one else sorted({each.provider for each in attempts} - {provider})
    return RecordKind(
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


def others_of(record: ActivityRecord, kind: RecordKind) -> dict[Facet, str]:
    """The values of a record that its kind does not tell; `provider`: all that were tried, as in `RecordKind.tried`."""
    found: dict[Facet, str] = {}
    if OTHERS in (kind.provider, kind.tried):
        found["provider"] = _BETWEEN.join(("", *sorted({record.provider, *(t.provider for t in record.attempts)}), ""))
    for name in _TOLD:
        if getattr(kind, name) == OTHERS:
            found[name] = facet_of(record, name)
    return found


def tried_pattern(provider: str) -> str:
    """What `tried` contains if this one was."""
    return f"{_BETWEEN}{provider}{_BETWEEN}"


def cuts(kind: RecordKind) -> Iterator[RecordKind]:
    """The coarser kinds that its records count in, too."""
    failed = kind.failed
    yield RecordKind("total", failed=failed)
    yield RecordKind("provider", provider=kind.provider, failed=failed)
    for asked in {kind.provider, *kind.tried.split()}:
        yield RecordKind("asked", provider=asked, failed=failed)
    yield RecordKind("model", model=kind.model, failed=failed)
    yield RecordKind("tenant", tenant=kind.tenant, failed=failed)
    yield RecordKind("reason", reason=kind.reason, failed=failed)
    yield RecordKind("cause", cause=kind.cause, failed=failed)
    yield RecordKind("gateway", gateway=kind.gateway, failed=failed)


class KindNumbers(NamedTuple):
    """Of one full kind."""

    full: int
    cuts: tuple[int, ...]
    """Of those that its records count in, too."""


class KnownKinds:
    """The kinds that there are, with their numbers, and the room for more. Not thread-safe."""

    def __init__(self, most: int = MOST_KINDS, names: Mapping[str, int] = MOST_NAMES) -> None:
        self._most: Final = most
        self._spare: Final = most // 10
        self._most_names: Final = names
        self._numbers: Final[dict[RecordKind, int]] = {}
        self._names: Final[dict[str, set[str]]] = {name: set() for name in names}
        self._untried_models: Final[set[str]] = set()
        self._full_numbers: Final[dict[RecordKind, KindNumbers]] = {}
        self._full = 0
        self._added: list[RecordKind] = []
        self.last = 0
        """The highest number of a kind."""

    def load(self, rows: Iterable[tuple[int, RecordKind]]) -> None:
        """Kinds that are in the database."""
        for number, kind in rows:
            if kind not in self._numbers:
                self._remember(number, kind)

    def clear(self) -> None:
        """Know none."""
        self._numbers.clear()
        self._untried_models.clear()
        self._full_numbers.clear()
        for names in self._names.values():
            names.clear()
        self._added = []
        self._full = self.last = 0

    def fitted(self, kind: RecordKind) -> RecordKind:
        """The same if there is room for it, else with `(others)` in place of some of its values."""
        if kind in self._numbers:
            return kind
        fitted = kind._replace(
            provider=self._name("provider", kind.provider),
            tried=self._name("tried", kind.tried),
            model=self._model(kind),
            tenant=self._name("tenant", kind.tenant),
            reason=self._name("reason", kind.reason),
            cause=self._name("cause", kind.cause),
            gateway=self._name("gateway", kind.gateway),
        )
        for most, coarser in (
            (self._most, fitted),
            (self._most + self._spare, fitted._replace(tenant=OTHERS)),
            (self._most + 2 * self._spare, fitted._replace(tenant=OTHERS, model=OTHERS, gateway=OTHERS)),
        ):
            if coarser in self._numbers or self._full < most:
                return coarser
        return RecordKind("full", OTHERS, OTHERS, OTHERS, OTHERS, OTHERS, OTHERS, OTHERS, kind.failed)

    def numbers(self, kind: RecordKind) -> KindNumbers:
        """Of a kind that `fitted` returned: new ones where there are none."""
        known = self._full_numbers.get(kind)
        if known is None:
            known = KindNumbers(self._number(kind), tuple(map(self._number, cuts(kind))))
            self._full_numbers[kind] = known
        return known

    def _number(self, kind: RecordKind) -> int:
        number = self._numbers.get(kind)
        if number is None:
            number = self.last + 1
            self._remember(number, kind)
            self._added.append(kind)
        return number

    def added(self) -> list[tuple[int, RecordKind]]:
        """What `numbers` has numbered since this was last called: to be written."""
        added, self._added = self._added, []
        return [(self._numbers[kind], kind) for kind in added]

    def _remember(self, number: int, kind: RecordKind) -> None:
        self._numbers[kind] = number
        self.last = max(self.last, number)
        if kind.cut != "full":
            return
        self._full += 1
        for name, known in self._names.items():
            known.add(getattr(kind, name))
        if not kind.provider and not kind.tried:
            self._untried_models.add(kind.model)

    def _name(self, name: str, value: str) -> str:
        known = self._names[name]
        return value if not value or value in known or len(known) < self._most_names[name] else OTHERS

    def _model(self, kind: RecordKind) -> str:
        if kind.provider or kind.tried or kind.model in self._names["model"]:
            return self._name("model", kind.model)
        return self._name("model", kind.model) if len(self._untried_models) < MOST_UNTRIED_MODELS else OTHERS
