"""Records and providers as lines for a terminal. Pure; what clients wrote is shown without control characters."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

_MOST_CHARS: Final = 60
_SHOWN_KEY: Final = 8


class ListedAttempt(msgspec.Struct, frozen=True):
    """Of a record, as the page's JSON has it; more fields are passed over."""

    provider: str
    outcome: str
    status: int = 0
    cause: str = ""


class ListedRecord(msgspec.Struct, frozen=True):
    """The same of a record."""

    id: str
    time_s: float
    reason: str
    status: int
    duration_s: float
    conversation: str = ""
    tenant: str = ""
    client: str = ""
    model: str = ""
    api: str = ""
    path: str = ""
    provider: str = ""
    attempts: Sequence[ListedAttempt] = ()
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    cause: str = ""
    paid_usd: float | None = None
    spread_usd: float | None = None
    error: str = ""


class ListedReport(msgspec.Struct, frozen=True):
    """How a provider is doing."""

    provider: str
    verdict: str
    cause: str = ""
    since_s: float = 0.0
    draining: bool = False
    warm_conversations: int | None = None


class ListedProvider(msgspec.Struct, frozen=True):
    """As a gateway reported it."""

    report: ListedReport
    gateway: str
    at_s: float


class ListedSpan(msgspec.Struct, frozen=True):
    """How a provider was doing for a while."""

    provider: str
    verdict: str
    cause: str
    begin_s: float


class ListedSums(msgspec.Struct, frozen=True):
    """Over the requests of a provider."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    paid_usd: float = 0.0
    spread_usd: float = 0.0


class ListedGroup(msgspec.Struct, frozen=True):
    """The sums of one provider."""

    value: str
    sums: ListedSums


class ListedError(msgspec.Struct, frozen=True):
    """The newest attempt at a provider that failed through its own fault."""

    time_s: float
    status: int = 0
    cause: str = ""


class ProviderList(msgspec.Struct, frozen=True):
    """All that `limpet status` shows."""

    seen: Sequence[ListedProvider] = ()
    verdicts: Sequence[ListedSpan] = ()
    sums: Sequence[ListedGroup] = ()
    last_errors: Mapping[str, ListedError] = msgspec.field(default_factory=dict)


def record_line(record: ListedRecord) -> str:
    """What a request did, in one line."""
    when = _when(record.time_s)
    what = record.conversation[:_SHOWN_KEY] or record.path or record.api or "-"
    who = record.client or ""
    parts = [when, what, record.model, who, record.reason or "-", _way(record), _tokens(record), _cost(record)]
    parts += [f"{record.duration_s:.2f} s", record.error]
    return "  ".join(plain(part) for part in parts if part)


def plain(text: str, most_chars: int = _MOST_CHARS) -> str:
    """Without what a terminal would act on."""
    shown = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    return shown if len(shown) <= most_chars else shown[: most_chars - 1] + "…"


def _when(time_s: float) -> str:
    try:
        return datetime.fromtimestamp(time_s, UTC).astimezone().strftime("%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{time_s:g} s"  # No calendar has it.


def _way(record: ListedRecord) -> str:
    """`alpha 503 ServerError > beta 200`."""
    tried = (
        " ".join(
            part for part in (each.provider, str(each.status or ""), each.cause if each.outcome != "ok" else "") if part
        )
        for each in record.attempts
    )
    return " > ".join(tried) or str(record.status or "no answer")


def _tokens(record: ListedRecord) -> str:
    why = f" ({record.cause})" if record.cause and record.cause != "hit" else ""
    if record.prompt_tokens is None:
        return ""
    if record.cached_tokens is None:
        return f"{record.prompt_tokens:,} tokens, cache unreported"
    return f"{record.cached_tokens:,} of {record.prompt_tokens:,} tokens cached{why}"


def _cost(record: ListedRecord) -> str:
    return "" if record.paid_usd is None else dollars(record.paid_usd)


def dollars(usd: float) -> str:
    """Cents where it is much, more digits where it is little."""
    return f"${usd:,.2f}" if usd >= 100 else f"${usd:.4f}" if usd >= 0.1 or usd == 0 else f"${usd:.6f}"


_HEADS: Final = ("provider", "verdict", "requests", "cached", "paid", "not sticky", "warm", "last trouble")


_OLD_S: Final = 90.0
"""Three times as long as a running gateway takes from report to report."""


def status_lines(found: ProviderList, now_s: float) -> Iterator[str]:
    """All providers as a table; the worst of what the gateways report of each."""
    if not found.seen and not found.sums:
        yield "No gateway has reported a provider yet."
        return
    worst = _worst(found.seen)
    sums = {group.value: group.sums for group in found.sums if group.value}
    rows = [_HEADS, *(_row(name, worst.get(name), sums.get(name), found, now_s) for name in sorted({*worst, *sums}))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    newest_s = max((each.at_s for each in found.seen), default=now_s)
    if now_s - newest_s > _OLD_S:
        yield f"As of {ago(now_s - newest_s)} ago: no gateway has reported since, so none may be running."


_RANK: Final = {"up": 0, "degraded": 1, "down": 2}


def _worst(seen: Sequence[ListedProvider]) -> Mapping[str, ListedReport]:
    found: dict[str, ListedReport] = {}
    for each in seen:
        name, known = each.report.provider, found.get(each.report.provider)
        if known is None or _RANK.get(each.report.verdict, 0) > _RANK.get(known.verdict, 0):
            found[name] = each.report
    return found


def _row(
    name: str, report: ListedReport | None, sums: ListedSums | None, found: ProviderList, now_s: float
) -> tuple[str, ...]:
    total = sums or ListedSums()
    share = f"{total.cached_tokens / total.prompt_tokens:.1%}" if total.prompt_tokens else "-"
    warm = [each.report.warm_conversations for each in found.seen if each.report.provider == name]
    known = [count for count in warm if count is not None]
    return (
        plain(name),
        plain(_verdict(report, now_s)),
        f"{total.requests:,}",
        share,
        dollars(total.paid_usd),
        dollars(total.spread_usd),
        f"{max(known):,}" if known else "-",
        _last_trouble(name, found, now_s),
    )


def _verdict(report: ListedReport | None, now_s: float) -> str:
    if report is None:
        return "gone"
    since = f" for {ago(now_s - report.since_s)}" if report.since_s and report.verdict != "up" else ""
    cause = f" ({report.cause})" if report.cause else ""
    return f"{report.verdict}{cause}{since}{', draining' if report.draining else ''}"


def _last_trouble(name: str, found: ProviderList, now_s: float) -> str:
    """The newest of its bad verdicts and its failed attempts."""
    troubles = [
        (each.begin_s, each.cause or each.verdict)
        for each in found.verdicts
        if each.provider == name and each.verdict != "up"
    ]
    if (error := found.last_errors.get(name)) is not None:
        said = " ".join(part for part in (error.cause, str(error.status or "")) if part)
        troubles.append((error.time_s, said or "failed"))
    if not troubles:
        return "-"
    at_s, what = max(troubles)
    return f"{plain(what)} {ago(now_s - at_s)} ago"


def ago(seconds: float) -> str:
    """`40 s`, `12 min`, `3 h`, `2 d`."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
