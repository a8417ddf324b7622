"""The ledger's rows added up by what a person asks for. Pure."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from re import fullmatch
from typing import Any, Final, Literal, TypeAlias

import msgspec

from limpet_extproc.contract.ledger import HOUR_S, NOTHING_SPENT, RowKey, Rows, RowSums

By: TypeAlias = Literal["provider", "model", "tenant", "policy", "day"]

ANONYMOUS: Final = "(no key)"
"""The tenant of clients that send none."""
UNKNOWN: Final = "(unknown)"
"""Of requests that Envoy routed itself, because no worker answered."""

_UNITS_S: Final[Mapping[str, int]] = {"h": HOUR_S, "d": 24 * HOUR_S, "w": 7 * 24 * HOUR_S}


class SpendingReport(msgspec.Struct, frozen=True):
    """What `limpet report` shows."""

    since: datetime
    by: By
    lines: dict[str, RowSums]
    """By name, in the order in which they are shown: the dearest first, days by date."""
    total: RowSums
    probes: RowSums

    def as_json(self) -> dict[str, Any]:
        """The keys that docs/ledger.md documents."""
        return {
            "since": self.since.isoformat(),
            "by": self.by,
            "rows": [{self.by: name, **msgspec.structs.asdict(sums)} for name, sums in self.lines.items()],
            "total": msgspec.structs.asdict(self.total),
            "probes": msgspec.structs.asdict(self.probes),
        }


def spending_report(rows: Rows, by: By, since: datetime) -> SpendingReport:
    """All of these rows, those of traffic by `by`; probes are a line of their own."""
    name = _NAMES[by]
    lines: dict[str, RowSums] = {}
    probes = NOTHING_SPENT
    for key, sums in rows.items():
        if key.kind == "probe":
            probes = probes.plus(sums)
        else:
            lines[name(key)] = lines.get(name(key), NOTHING_SPENT).plus(sums)
    ranked = sorted(lines.items(), key=lambda line: line[0] if by == "day" else (-line[1].paid_usd, line[0]))
    total = NOTHING_SPENT
    for sums in lines.values():
        total = total.plus(sums)
    return SpendingReport(since, by, dict(ranked), total, probes)


def of_tenants(rows: Rows, names: Collection[str]) -> Rows:
    """Those of these tenants' requests."""
    return {key: sums for key, sums in rows.items() if key.kind == "traffic" and key.tenant in names}


def since_when(text: str, now: datetime) -> datetime:
    """The beginning of the hour that `36h`, `7d`, `2w`, a date or a moment by ISO 8601 means.

    Without an offset it is UTC. Raises ValueError, whose message says what would be right.
    """
    if found := fullmatch(r"([0-9]{1,5})([hdw])", text):
        moment = now - timedelta(seconds=int(found[1]) * _UNITS_S[found[2]])
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError(f"{text!r} is no time: write 36h, 7d, 2w, 2026-11-30 or 2026-11-30T12:00+01:00") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.replace(minute=0, second=0, microsecond=0)


def _day(key: RowKey) -> str:
    return datetime.fromtimestamp(key.hour * HOUR_S, UTC).date().isoformat()


_NAMES: Final[Mapping[By, Callable[[RowKey], str]]] = {
    "provider": lambda key: key.provider,
    "model": lambda key: key.model or UNKNOWN,
    "tenant": lambda key: key.tenant or (ANONYMOUS if key.policy else UNKNOWN),
    "policy": lambda key: key.policy or UNKNOWN,
    "day": _day,
}
