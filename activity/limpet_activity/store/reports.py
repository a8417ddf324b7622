"""What workers report of themselves and of providers, in the tables."""

from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Final

import msgspec
from sqlalchemy import Connection, select, text

from limpet_activity.store.port import SeenProvider, VerdictSpan
from limpet_activity.store.tables import providers, verdicts
from limpet_activity.store.validation import sanitized_moment, sanitized_report
from limpet_activity.store.validation import text as clean
from limpet_extproc.contract.activity import ActivityBatch, ProviderReport

_ENCODE: Final = msgspec.msgpack.Encoder().encode
_DECODE: Final = msgspec.msgpack.Decoder(ProviderReport).decode

_DROPPED: Final = text(
    "INSERT INTO workers (gateway, worker, started_s, dropped, at_s)"
    " VALUES (:gateway, :worker, :started_s, :dropped, :at_s)"
    " ON CONFLICT (gateway, worker, started_s) DO UPDATE SET at_s = excluded.at_s,"
    " dropped = CASE WHEN excluded.dropped > workers.dropped THEN excluded.dropped ELSE workers.dropped END"
)

_REPORT: Final = text(
    "INSERT INTO providers (provider, gateway, at_s, report) VALUES (:provider, :gateway, :at_s, :report)"
    " ON CONFLICT (provider, gateway) DO UPDATE SET at_s = excluded.at_s, report = excluded.report"
)

_LAST: Final = text(
    "SELECT begin_s, verdict, cause FROM verdicts WHERE provider = :provider AND gateway = :gateway AND end_s IS NULL"
    " ORDER BY begin_s DESC LIMIT 1"
)
_END: Final = text(
    "UPDATE verdicts SET end_s = :end_s WHERE provider = :provider AND gateway = :gateway AND begin_s = :begin_s"
)
_BEGIN: Final = text(
    "INSERT INTO verdicts (provider, gateway, begin_s, verdict, cause)"
    " VALUES (:provider, :gateway, :begin_s, :verdict, :cause)"
    " ON CONFLICT (provider, gateway, begin_s) DO UPDATE"
    " SET verdict = excluded.verdict, cause = excluded.cause, end_s = NULL"
)

_MOST_WORKER: Final = 2**31 - 1
_MOST_DROPPED: Final = 2**53


def write_reports(connection: Connection, batches: Iterable[ActivityBatch], now_s: float) -> None:
    """What these say of their workers and of providers."""
    for batch in batches:
        gateway, at_s = clean(batch.gateway, 256), sanitized_moment(batch.sent_s, now_s)
        worker = {
            "gateway": gateway,
            "worker": min(max(batch.worker, 0), _MOST_WORKER),
            "started_s": batch.started_s if isfinite(batch.started_s) else 0.0,
            "dropped": min(max(batch.dropped, 0), _MOST_DROPPED),
            "at_s": at_s,
        }
        connection.execute(_DROPPED, worker)
        for report in batch.providers:
            if (valid := sanitized_report(report, now_s)) is not None:
                _see(connection, valid, gateway, at_s)


def _see(connection: Connection, report: ProviderReport, gateway: str, at_s: float) -> None:
    key = {"provider": report.provider, "gateway": gateway}
    last_s = connection.execute(
        select(providers.c.at_s).where(providers.c.provider == report.provider, providers.c.gateway == gateway)
    ).scalar()
    if last_s is not None and last_s > at_s:
        return
    connection.execute(_REPORT, {**key, "at_s": at_s, "report": _ENCODE(report)})
    last = connection.execute(_LAST, key).one_or_none()
    if last is not None and (last.verdict, last.cause) == (report.verdict, report.cause):
        return
    begin_s = report.since_s or at_s
    if last is not None:
        begin_s = max(begin_s, last.begin_s)
        connection.execute(_END, {**key, "begin_s": last.begin_s, "end_s": begin_s})
    connection.execute(_BEGIN, {**key, "begin_s": begin_s, "verdict": report.verdict, "cause": report.cause})


def seen_providers(connection: Connection) -> Iterator[SeenProvider]:
    """By provider and gateway."""
    rows = connection.execute(select(providers).order_by(providers.c.provider, providers.c.gateway))
    return (SeenProvider(_DECODE(row.report), row.gateway, row.at_s) for row in rows)


def verdict_spans(connection: Connection, since_s: float) -> Iterator[VerdictSpan]:
    """By provider and gateway, the oldest first."""
    lasting = (verdicts.c.end_s.is_(None)) | (verdicts.c.end_s > since_s)
    order = (verdicts.c.provider, verdicts.c.gateway, verdicts.c.begin_s)
    rows = connection.execute(select(verdicts).where(lasting).order_by(*order))
    return (VerdictSpan(row.provider, row.gateway, row.verdict, row.cause, row.begin_s, row.end_s) for row in rows)
