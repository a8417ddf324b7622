"""A filter in the words of the tables: the combinations that it means, and what else it demands of a record. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from limpet_activity.store.combinations import GroupingSet, tried_pattern
from limpet_activity.store.facts import OTHERS
from limpet_activity.store.port import ActivityFilter, Facet

FACETS: Final[tuple[Facet, ...]] = ("provider", "model", "tenant", "reason", "cause", "gateway")

_SHORT: Final = 3
"""Beginnings of a conversation's key that are shorter mean so many records that its index does not help."""

_UNASKABLE: Final = re.compile("[\x00\ud800-\udfff]")

_PARAMETER: Final = re.compile(r"(?<!:):(\w+)")

_AFTER: Final = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class RecordsQuestion:
    """Conditions in SQL that some records meet, joined by AND: on their combinations, and on themselves."""

    of_combinations: tuple[str, ...]
    of_records: tuple[str, ...]
    index: str = ""
    """Of records, which finds them best; empty: the one by time."""


@dataclass(frozen=True, slots=True)
class TableQuestion:
    """What to look for, with the values of all parameters."""

    grouping_set: GroupingSet
    """Of the combinations that are meant, where sums are asked for."""
    of_combinations: tuple[str, ...]
    """Conditions that all records of a combination meet: what roll-ups answer."""
    others: tuple[RecordsQuestion, ...]
    """Records besides, each in one of these: what is asked for is their own, where their combination has `(others)`."""
    all: RecordsQuestion
    """Both at once."""
    of_records: bool
    """No combination has what is asked for, so only `all` answers."""
    values: dict[str, object] = field(default_factory=dict)


def askable_text(text: str) -> str:
    """The same, or what no record has in place of what PostgreSQL refuses to be asked."""
    return _UNASKABLE.sub("\x01", text)


def askable(which: ActivityFilter) -> ActivityFilter:
    """The same filter, without what PostgreSQL refuses to be asked."""
    values = {name: getattr(which, name) for name in (*FACETS, "conversation")}
    if not any(map(_UNASKABLE.search, values.values())):
        return which
    return replace(which, **{name: askable_text(value) for name, value in values.items()})


def restricted_facets(which: ActivityFilter) -> list[Facet]:
    """Those that the filter demands a value of."""
    return [name for name in FACETS if getattr(which, name)]


def asked(which: ActivityFilter, by: Facet | None, with_others: AbstractSet[Facet]) -> TableQuestion:
    """What to look for, where records are counted by this value.

    `with_others`: facets of which combinations have `(others)`, as there was no room for all their values.
    """
    restricted = restricted_facets(which)
    others = [name for name in restricted if name in with_others and getattr(which, name) != OTHERS]
    failed = () if which.failed is None else ("combinations.failed = :failed",)
    of_combinations = (*(_of_combination(which, name) for name in restricted), *failed)
    return TableQuestion(
        _grouping_set(set(restricted), by),
        of_combinations,
        tuple(_of_others(which, restricted, others, failed)),
        _all(which, restricted, others, failed),
        bool(which.conversation),
        _values(which),
    )


def _of_combination(which: ActivityFilter, name: Facet) -> str:
    """Holds if all records of a combination have the value."""
    if name == "provider":
        # Holds for coarser ones, too: there, nothing was tried.
        return "(combinations.provider = :provider OR replace(combinations.tried, :tried, '') <> combinations.tried)"
    if name == "reason" and which.reason.endswith("."):
        return "(combinations.reason >= :reason AND combinations.reason < :after_reason)"
    return f"combinations.{name} = :{name}"


def _has_others(name: Facet) -> str:
    """Holds if records of a combination have values that it does not tell."""
    if name == "provider":
        return "(combinations.provider = :others OR combinations.tried = :others)"
    return f"combinations.{name} = :others"


def _of_other(which: ActivityFilter, name: Facet) -> str:
    """Holds if a record of such a combination has the value."""
    if name == "provider":
        column = "records.other_provider"
        return f"({column} IS NOT NULL AND replace({column}, :tried, '') <> {column})"
    if name == "reason" and which.reason.endswith("."):
        return "(records.other_reason >= :reason AND records.other_reason < :after_reason)"
    return f"records.other_{name} = :{name}"


def _of_others(
    which: ActivityFilter, restricted: Sequence[Facet], others: Sequence[Facet], failed: tuple[str, ...]
) -> Iterator[RecordsQuestion]:
    """By the first value that the combination does not tell, so that no record is in two of them."""
    for at, first in enumerate(others):
        later = others[at + 1 :]
        told = [name for name in restricted if name != first and name not in later]
        yield RecordsQuestion(
            (
                _has_others(first),
                f"NOT {_of_combination(which, first)}",
                *(_of_combination(which, name) for name in told),
                *(_may_be(which, name) for name in later),
                *failed,
            ),
            (_of_other(which, first), *(_is_or_told(which, name) for name in later)),
            f"records_by_other_{first}",
        )


def _all(
    which: ActivityFilter, restricted: Sequence[Facet], others: Sequence[Facet], failed: tuple[str, ...]
) -> RecordsQuestion:
    told = [name for name in restricted if name not in others]
    of_conversation = "records.conversation >= :conversation AND records.conversation < :after_conversation"
    return RecordsQuestion(
        (*(_of_combination(which, name) for name in told), *(_may_be(which, name) for name in others), *failed),
        (*(_is_or_told(which, name) for name in others), *([of_conversation] if which.conversation else ())),
        "records_by_conversation" if len(which.conversation) >= _SHORT else "",
    )


def _may_be(which: ActivityFilter, name: Facet) -> str:
    return f"({_of_combination(which, name)} OR {_has_others(name)})"


def _is_or_told(which: ActivityFilter, name: Facet) -> str:
    """Where its combination tells the value, a record has none of its own."""
    return f"(records.other_{name} IS NULL OR {_of_other(which, name)})"


def _values(which: ActivityFilter) -> dict[str, object]:
    values: dict[str, object] = {name: value for name in (*FACETS, "conversation") if (value := getattr(which, name))}
    if values:
        values["others"] = OTHERS
    if which.provider:
        values["tried"] = tried_pattern(which.provider)
    if which.reason.endswith("."):
        values["after_reason"] = which.reason + _AFTER
    if which.conversation:
        values["after_conversation"] = which.conversation + _AFTER
    if which.failed is not None:
        values["failed"] = int(which.failed)
    return values


def used_in(statement: str, values: Mapping[str, object]) -> dict[str, object]:
    """Those of the parameters that a statement has."""
    names = set(_PARAMETER.findall(statement))
    return {name: value for name, value in values.items() if name in names}


def _grouping_set(restricted: set[Facet], by: Facet | None) -> GroupingSet:
    """The coarsest combinations that tell what is asked for."""
    match sorted(restricted):
        case []:
            return by or "total"
        case [one] if by is None:
            return "asked" if one == "provider" else one
        case ["model" | "tenant" | "reason" | "cause" | "gateway" as one] if by == one:
            return by
        case _:
            return "full"
