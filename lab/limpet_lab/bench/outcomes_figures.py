"""What `limpet bench outcomes` makes of its runs: whether a request or an outcome is missing. Pure."""

from collections.abc import Mapping, Sequence
from math import inf
from typing import Final, NamedTuple

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from rich.box import SIMPLE
from rich.table import Table

_DELAY: Final = "limpet_outcome_delay_seconds"
_LAG: Final = "limpet_event_loop_lag_seconds"
_SHOWN: Final = 0.5
"""So much of a stop is to be seen in the metrics at least: the bounds of a histogram are rough."""


class WorkersCounts(NamedTuple):
    """What the workers of a gateway have counted since they started, all together."""

    outcomes: int
    """Requests that ended."""
    entries: int
    """Of Envoy's access log."""
    delay: Mapping[float, float]
    """Batches of entries, by bounds of how late they were at most."""
    lag: Mapping[float, float]
    """Looks at the event loop, by bounds of how late it was at most."""


class EnvoyCounts(NamedTuple):
    """What Envoy has counted of its access log."""

    written: int
    dropped: int


class OutcomesRun(msgspec.Struct):
    """One load against one gateway."""

    workers: int
    memory: str
    """Where the workers remember: `own` or `redis`."""
    stopped_s: float
    """How long each worker in turn stood still; 0: none did."""
    sent: int
    failed: int
    """Requests with no answer, or another than 200."""
    undecided: int
    """Requests for which no worker decided in time."""
    slowest_s: float
    outcomes: int
    records: int
    """Of the activity log."""
    entries_written: int
    """Entries that Envoy has written to its access log."""
    entries_dropped: int
    """Entries that found no room."""
    entries_taken: int
    """Entries that workers have taken in."""
    shown_delay_s: float
    """More than this was the largest delay of outcomes, as the bounds of the histogram tell; 0: less than any."""
    shown_lag_s: float
    """The same of the workers' event loops."""

    @property
    def missing(self) -> list[str]:
        """What does not hold, in a word or two each."""
        shown_s = min(self.shown_delay_s, self.shown_lag_s)
        return [
            words
            for words, missed in (
                ("requests failed", self.failed),
                ("not an outcome for each request", self.outcomes != self.sent),
                ("not a record for each request", self.records != self.sent),
                ("entries lost", self.entries_dropped or self.entries_taken != self.entries_written),
                ("the stop does not show", shown_s < _SHOWN * self.stopped_s),
            )
            if missed
        ]


def counts_of(page: str) -> WorkersCounts:
    """From the workers' metrics."""
    outcomes = entries = 0.0
    spreads: dict[str, dict[float, float]] = {_DELAY: {}, _LAG: {}}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == "limpet_requests_total":
                outcomes += sample.value
            elif sample.name == "limpet_access_log_entries_total":
                entries += sample.value
            elif family.name in spreads and sample.name.endswith("_bucket"):
                bound, spread = float(sample.labels["le"]), spreads[family.name]
                spread[bound] = spread.get(bound, 0.0) + sample.value
    return WorkersCounts(round(outcomes), round(entries), spreads[_DELAY], spreads[_LAG])


def envoy_counts_of(page: str) -> EnvoyCounts:
    """From Envoy's statistics in plain text."""
    found = dict(line.rsplit(": ", 1) for line in page.splitlines() if ": " in line)
    written, dropped = (int(found.get(f"access_logs.grpc_access_log.logs_{what}", 0)) for what in EnvoyCounts._fields)
    return EnvoyCounts(written, dropped)


def largest(before: Mapping[float, float], after: Mapping[float, float]) -> float:
    """The highest bound of a histogram that was exceeded meanwhile; 0: none was."""
    added = {bound: count - before.get(bound, 0.0) for bound, count in after.items()}
    return max((bound for bound, count in added.items() if count < added[inf]), default=0.0)


def table(runs: Sequence[OutcomesRun]) -> Table:
    """For a person."""
    shown = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for column in ("workers", "stop, s", "sent", "failed", "outcomes", "records", "lost", "delay >", "lag >"):
        shown.add_column(column, justify="right")
    for run in runs:
        lost = run.entries_written + run.entries_dropped - run.entries_taken
        shown.add_row(
            str(run.workers),
            f"{run.stopped_s:g}",
            *(f"{number:,}" for number in (run.sent, run.failed, run.outcomes, run.records, lost)),
            *(f"{seconds:g}" for seconds in (run.shown_delay_s, run.shown_lag_s)),
        )
    return shown


def verdict(runs: Sequence[OutcomesRun]) -> str:
    """What does not hold, by run, or that all does."""
    lines = [
        f"workers: {run.workers}, stopped for {run.stopped_s:g} s: {', '.join(run.missing)}"
        for run in runs
        if run.missing
    ]
    return "\n".join(lines or ["Each request was answered, and has one outcome and one record."])
