"""A filter in the words of the tables: the kinds that it means, and what else it demands of a record. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from limpet_activity.store.kinds import Cut, tried_pattern
from limpet_activity.store.port import ActivityFilter, Facet

FACETS: Final[tuple[Facet, ...]] = ("provider", "model", "tenant", "reason", "cause", "gateway")

_SHORT: Final = 4
"""Beginnings of a conversation's key that are shorter mean so many records that its index does not help."""

_UNASKABLE: Final = re.compile("[\x00\ud800-\udfff]")

_AFTER: Final = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class TableQuestion:
    """Conditions in SQL, joined by AND, with the values of their parameters."""

    cut: Cut
    """Of the kinds that are meant, where sums are asked for."""
    index: str = ""
    """Of records, which finds them best; empty: the one by time, or by kind."""
    of_kinds: tuple[str, ...] = ()
    of_records: tuple[str, ...] = ()
    """Besides their kind and time; none: sums of kinds are the answer."""
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


def asked(which: ActivityFilter, by: Facet | None, *, other_model: bool, other_tenant: bool) -> TableQuestion:
    """What to look for, where records are counted by this value.

    `other_model`, `other_tenant`: there is no kind with the one that is demanded, so records of `(others)` are asked.
    """
    restricted: set[str] = {name for name in FACETS if getattr(which, name)}
    of_records = _of_records(which, other_model=other_model, other_tenant=other_tenant)
    others: set[str] = {name for name, other in (("model", other_model), ("tenant", other_tenant)) if other}
    return TableQuestion(
        "full" if of_records else _cut(restricted, by),
        _index(which, others),
        tuple(_of_kinds(which, restricted - others)),
        tuple(of_records),
        _values(which),
    )


def _of_kinds(which: ActivityFilter, restricted: set[str]) -> Iterator[str]:
    if "provider" in restricted:
        # Holds for cuts, too: there, nothing was tried.
        yield "(kinds.provider = :provider OR replace(kinds.tried, :tried, '') <> kinds.tried)"
    yield from (f"kinds.{name} = :{name}" for name in ("model", "tenant", "cause", "gateway") if name in restricted)
    if which.reason.endswith("."):
        yield "kinds.reason >= :reason AND kinds.reason < :after_reason"
    elif which.reason:
        yield "kinds.reason = :reason"
    if which.failed is not None:
        yield "kinds.failed = :failed"


def _of_records(which: ActivityFilter, *, other_model: bool, other_tenant: bool) -> list[str]:
    conditions = (
        (other_model, "records.other_model = :model"),
        (other_tenant, "records.other_tenant = :tenant"),
        (which.conversation, "records.conversation >= :conversation AND records.conversation < :after_conversation"),
    )
    return [condition for demanded, condition in conditions if demanded]


def _index(which: ActivityFilter, others: set[str]) -> str:
    if len(which.conversation) >= _SHORT:
        return "records_by_conversation"
    return f"records_by_other_{min(others)}" if others else ""


def _values(which: ActivityFilter) -> dict[str, object]:
    values: dict[str, object] = {name: value for name in (*FACETS, "conversation") if (value := getattr(which, name))}
    if which.provider:
        values["tried"] = tried_pattern(which.provider)
    if which.reason.endswith("."):
        values["after_reason"] = which.reason + _AFTER
    if which.conversation:
        values["after_conversation"] = which.conversation + _AFTER
    if which.failed is not None:
        values["failed"] = int(which.failed)
    return values


def _cut(restricted: set[str], by: Facet | None) -> Cut:
    """The coarsest kinds that tell what is asked for."""
    match sorted(restricted):
        case []:
            return by or "total"
        case [one] if by is None:
            return "asked" if one == "provider" else one  # type: ignore[return-value]
        case ["model" | "tenant" | "reason" | "cause" | "gateway" as one] if by == one:
            return by
        case _:
            return "full"
