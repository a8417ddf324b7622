"""What pages and programs are told: the store's answers to one address, asked in threads."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Final

import msgspec

from limpet_activity.store.facts import added
from limpet_activity.store.port import (
    ActivityFilter,
    ActivityStore,
    Group,
    GroupStep,
    SeenProvider,
    Step,
    Sums,
    VerdictSpan,
)
from limpet_activity.web.question import range_of, span_of

MOST_GROUPS: Final = 12
"""Of each kind on the overview; the rest is one."""

_LOOKED_AT: Final = 50
"""Records of a provider in which its last error is looked for."""

_MOST_ASKED: Final = 50
"""Providers whose last error is looked for."""


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
    provider_steps: Sequence[GroupStep]
    """Each provider over time, where it answered; none where only some requests are meant."""


class LastError(msgspec.Struct, frozen=True):
    """The newest attempt at a provider that did not succeed through its own fault."""

    record_id: str
    time_s: float
    status: int
    cause: str


class ProvidersAnswer(msgspec.Struct, frozen=True):
    """How all providers are and were doing."""

    range: str
    since_s: float
    until_s: float
    seen: Sequence[SeenProvider]
    verdicts: Sequence[VerdictSpan]
    sums: Sequence[Group]
    last_errors: Mapping[str, LastError]
    """By provider; of those that failed lately."""


def overview(store: ActivityStore, given: Mapping[str, str], which: ActivityFilter, now_s: float) -> Overview:
    """Blocks. Raises QuestionError and StoreError."""
    name = range_of(given)
    since_s, until_s, step_s = span_of(name, now_s)
    everything = which == ActivityFilter()
    which = msgspec.structs.replace(which, since_s=since_s, until_s=until_s)
    steps = store.steps(which, step_s)
    groups = store.breakdown(which, ("provider", "model", "reason", "cause"), MOST_GROUPS)
    return Overview(
        range=name,
        since_s=since_s,
        until_s=until_s,
        step_s=step_s,
        sums=reduce(added, (step.sums for step in steps), Sums()),
        steps=steps,
        providers=groups["provider"],
        models=groups["model"],
        reasons=groups["reason"],
        causes=groups["cause"],
        # Of some requests nothing is added up beforehand by provider and step: it could take long.
        provider_steps=store.group_steps(which, "provider", step_s) if everything else (),
    )


def providers(store: ActivityStore, given: Mapping[str, str], now_s: float) -> ProvidersAnswer:
    """Blocks. Raises QuestionError and StoreError."""
    name = range_of(given)
    since_s, until_s, _ = span_of(name, now_s)
    which = ActivityFilter(since_s=since_s, until_s=until_s)
    seen = store.providers()
    names = sorted({each.report.provider for each in seen})
    errors = {provider: last_error(store, provider, since_s) for provider in names[:_MOST_ASKED]}
    return ProvidersAnswer(
        range=name,
        since_s=since_s,
        until_s=until_s,
        seen=seen,
        verdicts=store.verdicts(since_s),
        sums=store.groups(which, "provider", 100),
        last_errors={provider: error for provider, error in errors.items() if error is not None},
    )


def last_error(store: ActivityStore, provider: str, since_s: float) -> LastError | None:
    """Among what it was asked last. Blocks. Raises StoreError."""
    which = ActivityFilter(since_s=since_s, provider=provider)
    for record in store.page(which, None, _LOOKED_AT).records:
        for tried in reversed(record.attempts):
            if tried.provider == provider and tried.outcome in ("failed", "limited"):
                return LastError(record.id, record.time_s, tried.status, tried.cause)
    return None
