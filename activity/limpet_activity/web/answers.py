"""What pages and programs are told: the store's answers to one address, asked in threads."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from limpet_activity.store.port import (
    ActivityFilter,
    ActivityStore,
    Group,
    SeenProvider,
    Step,
    Sums,
    VerdictSpan,
)
from limpet_activity.web.question import range_of, span_of

MOST_GROUPS: Final = 12
"""Of each kind on the overview; the rest is one."""


class Overview(msgspec.Struct, frozen=True):
    """A range of time at a glance."""

    range: str
    since_s: float
    until_s: float
    step_s: int
    sums: Sums
    steps: Sequence[Step]
    providers: Sequence[Group]
    models: Sequence[Group]
    reasons: Sequence[Group]
    causes: Sequence[Group]


class ProvidersAnswer(msgspec.Struct, frozen=True):
    """How all providers are and were doing."""

    range: str
    since_s: float
    until_s: float
    seen: Sequence[SeenProvider]
    verdicts: Sequence[VerdictSpan]
    sums: Sequence[Group]


def overview(store: ActivityStore, given: Mapping[str, str], which: ActivityFilter, now_s: float) -> Overview:
    """Blocks. Raises QuestionError and StoreError."""
    name = range_of(given)
    since_s, until_s, step_s = span_of(name, now_s)
    which = msgspec.structs.replace(which, since_s=since_s, until_s=until_s)
    return Overview(
        range=name,
        since_s=since_s,
        until_s=until_s,
        step_s=step_s,
        sums=store.sums(which),
        steps=store.steps(which, step_s),
        providers=store.groups(which, "provider", MOST_GROUPS),
        models=store.groups(which, "model", MOST_GROUPS),
        reasons=store.groups(which, "reason", MOST_GROUPS),
        causes=store.groups(which, "cause", MOST_GROUPS),
    )


def providers(store: ActivityStore, given: Mapping[str, str], now_s: float) -> ProvidersAnswer:
    """Blocks. Raises QuestionError and StoreError."""
    name = range_of(given)
    since_s, until_s, _ = span_of(name, now_s)
    which = ActivityFilter(since_s=since_s, until_s=until_s)
    return ProvidersAnswer(
        range=name,
        since_s=since_s,
        until_s=until_s,
        seen=store.providers(),
        verdicts=store.verdicts(since_s),
        sums=store.groups(which, "provider", 100),
    )
