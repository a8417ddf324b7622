"""The questions that pages and commands ask about records, and the store that answers them.

All of a store blocks: call it in a thread. Raises StoreError where the database does not answer.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec

from limpet_extproc.contract.activity import ActivityBatch, ActivityRecord, ProviderReport

Facet: TypeAlias = Literal["provider", "model", "tenant", "reason", "cause", "gateway"]
"""What records can be filtered and counted by. `tenant` is the client's name, or what names its tenant."""


class StoreError(Exception):
    """The database does not do what it is asked; the text says why and what to do."""


class ActivityFilter(msgspec.Struct, frozen=True):
    """Which records are meant; an empty field restricts nothing."""

    since_s: float | None = None
    until_s: float | None = None
    provider: str = ""
    """One that answered, or was tried."""
    model: str = ""
    tenant: str = ""
    reason: str = ""
    """All of it, or with a dot at the end its beginning: `sticky.` is all of these."""
    cause: str = ""
    """Without its detail."""
    conversation: str = ""
    """All of its key, or the beginning."""
    gateway: str = ""
    failed: bool | None = None
    """Whether the client got no good answer."""


class Position(msgspec.Struct, frozen=True):
    """Of a record among all, by time and then by id."""

    time_s: float
    id: str


class Page(msgspec.Struct, frozen=True):
    """Some records, the newest first."""

    records: Sequence[ActivityRecord]
    older: Position | None
    """Where the next page begins; None: there is none."""
    newer: Position | None = None
    """Where the page before ends; None: there is none, or it was not asked for by position."""


class Sums(msgspec.Struct, frozen=True):
    """Over some records. Dollars are of those whose price is known, cached tokens of those that report them."""

    requests: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    """Of requests that report what was read from the cache."""
    cached_tokens: int = 0
    output_tokens: int = 0
    paid_usd: float = 0.0
    uncached_usd: float = 0.0
    spread_usd: float = 0.0
    """Not sticky."""
    cheapest_usd: float = 0.0
    unpriced: int = 0
    observed_usd: float = 0.0
    """In mode Observe: what Enforce would have paid."""
    observed_paid_usd: float = 0.0
    """Of `paid_usd`: for the requests that `observed_usd` is about."""


class Step(msgspec.Struct, frozen=True):
    """One step of time."""

    begin_s: float
    sums: Sums


class Group(msgspec.Struct, frozen=True):
    """The records that share one value."""

    value: str
    sums: Sums


class GroupStep(msgspec.Struct, frozen=True):
    """One step of time, of the records that share one value."""

    value: str
    begin_s: float
    sums: Sums


class SeenProvider(msgspec.Struct, frozen=True):
    """A provider as its gateways reported it last."""

    report: ProviderReport
    gateway: str
    at_s: float


class VerdictSpan(msgspec.Struct, frozen=True):
    """How a provider was doing for a while."""

    provider: str
    gateway: str
    verdict: str
    cause: str
    begin_s: float
    end_s: float | None
    """None: it still is."""


class StoreState(msgspec.Struct, frozen=True):
    """How the store itself is doing."""

    records: int
    """Estimated where counting takes long."""
    oldest_s: float | None
    newest_s: float | None
    size_bytes: int
    dropped: int
    """Records that workers could not hand over, of the time that is kept."""


class ActivityStore(Protocol):
    """Keeps records."""

    def take(self, batches: Sequence[ActivityBatch], now_s: float) -> int:
        """Keep what is new; how many records that were."""

    def page(
        self, which: ActivityFilter, older_than: Position | None, limit: int, newer_than: Position | None = None
    ) -> Page:
        """The newest of them, those that follow, or those that come right before; of the positions at most one."""

    def taken_after(self, which: ActivityFilter, number: int, limit: int) -> tuple[Sequence[ActivityRecord], int]:
        """Those taken in after the one with this number, the oldest first, and the number of the last; to follow."""

    def last_number(self) -> int:
        """Of what was taken in last; 0: nothing was."""

    def record(self, record_id: str) -> ActivityRecord | None:
        """The one with this id, if it is kept."""

    def turns(self, conversation: str, limit: int) -> Sequence[ActivityRecord]:
        """The last requests of a conversation, the oldest first."""

    def sums(self, which: ActivityFilter) -> Sums:
        """Over all of them."""

    def steps(self, which: ActivityFilter, step_s: int) -> Sequence[Step]:
        """Over time, from `since_s` to `until_s`, also where nothing was. Steps are whole minutes."""

    def groups(self, which: ActivityFilter, by: Facet, limit: int) -> Sequence[Group]:
        """By value, the one with the most requests first; what is beyond `limit` is one group `(others)`."""

    def group_steps(self, which: ActivityFilter, by: Facet, step_s: int) -> Sequence[GroupStep]:
        """Over time and by value, in this order, where something was. Steps are whole minutes."""

    def breakdown(self, which: ActivityFilter, facets: Sequence[Facet], limit: int) -> Mapping[Facet, Sequence[Group]]:
        """`groups` by each of these, at once, which takes hardly longer than one."""

    def providers(self) -> Sequence[SeenProvider]:
        """As each gateway reported each of them last."""

    def verdicts(self, since_s: float) -> Sequence[VerdictSpan]:
        """How providers were doing, by provider and gateway, the oldest first."""

    def state(self) -> StoreState:
        """How the store itself is doing."""
