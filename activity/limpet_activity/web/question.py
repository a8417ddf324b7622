"""What the query of an address asks for; what it gets wrong is named, with what would be right."""

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from limpet_activity.store.port import ActivityFilter, Position
from limpet_extproc.contract.reasons import CacheCause, Reason, words

RANGES_S: Final[Mapping[str, tuple[int, int]]] = {
    "1h": (3600, 60),
    "6h": (6 * 3600, 300),
    "24h": (86_400, 1200),
    "7d": (7 * 86_400, 7200),
    "30d": (30 * 86_400, 21_600),
}
"""By the name of a range: how long it is, and the step in which it is drawn."""

LIMITS: Final = range(1, 501)
"""Records on a page."""

FILTERS: Final = (
    "provider",
    "model",
    "tenant",
    "reason",
    "cause",
    "conversation",
    "gateway",
    "since",
    "until",
    "failed",
)
"""What the address of a page of records may restrict."""

REASONS: Final = words(Reason)
CAUSES: Final = words(CacheCause)
REASON_BEGINNINGS: Final = sorted(
    {reason[: reason.index(".") + 1] for reason in REASONS} | {"sticky.left.", "sticky.moved."}
)
_AGO: Final = re.compile(r"(\d{1,6})(s|m|h|d)")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_MOST_CHARS: Final = 300
_CURSOR: Final = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)~(.{1,200})")


class QuestionError(ValueError):
    """A parameter that means nothing here."""

    def __init__(self, parameter: str, value: str, allowed: str, choices: Sequence[str] = ()) -> None:
        shown = value if len(value) <= 60 else value[:60] + "…"
        super().__init__(f"{parameter}={shown!r} is not understood: {', '.join((allowed, *choices))}")
        self.parameter: Final = parameter
        self.value: Final = shown
        self.allowed: Final = allowed
        self.choices: Final = choices


def parameters(query: Sequence[tuple[str, str]], known: Collection[str]) -> dict[str, str]:
    """By name, without the empty ones, as a form sends them; raises QuestionError for those that are not known."""
    found: dict[str, str] = {}
    for name, value in query:
        if name not in known:
            raise QuestionError(name, value, "this page knows these", tuple(known))
        if name in found and value:
            raise QuestionError(name, value, "give it once")
        if len(value) > _MOST_CHARS:
            raise QuestionError(name, value, f"at most {_MOST_CHARS} characters")
        if value.strip():
            found[name] = value.strip()
    return found


def filter_of(given: Mapping[str, str], now_s: float) -> ActivityFilter:
    """Which records are meant. Raises QuestionError."""
    reason = given.get("reason", "")
    if reason and reason not in REASONS and reason not in REASON_BEGINNINGS:
        raise QuestionError("reason", reason, "a reason, or the beginning of several", (*REASONS, *REASON_BEGINNINGS))
    cause = given.get("cause", "")
    if cause and cause not in CAUSES:
        raise QuestionError("cause", cause, "a cause", CAUSES)
    conversation = given.get("conversation", "").lower()
    if conversation and not re.fullmatch(r"[0-9a-f]{1,64}", conversation):
        raise QuestionError("conversation", conversation, "its key, or the beginning: hexadecimal digits")
    failed = given.get("failed", "")
    if failed not in ("", "yes", "no"):
        raise QuestionError("failed", failed, "yes or no")
    since_s, until_s = (_moment(name, given.get(name, ""), now_s) for name in ("since", "until"))
    if since_s is not None and until_s is not None and since_s >= until_s:
        raise QuestionError("until", given["until"], "a time after `since`")
    return ActivityFilter(
        since_s=since_s,
        until_s=until_s,
        provider=given.get("provider", ""),
        model=given.get("model", ""),
        tenant=given.get("tenant", ""),
        reason=reason,
        cause=cause,
        conversation=conversation,
        gateway=given.get("gateway", ""),
        failed=None if not failed else failed == "yes",
    )


def _moment(name: str, given: str, now_s: float) -> float | None:
    allowed = "a time in UTC such as 2026-11-30T21:00, or how long ago: 90s, 30m, 6h, 7d"
    if not given:
        return None
    ago = _AGO.fullmatch(given)
    if ago is not None:
        return now_s - timedelta(**{_UNITS[ago[2]]: int(ago[1])}).total_seconds()
    try:
        moment = datetime.fromisoformat(given)
        moment_s = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise QuestionError(name, given, allowed) from error
    if moment_s < 0:
        raise QuestionError(name, given, allowed)
    return moment_s


def range_of(given: Mapping[str, str]) -> str:
    """One of RANGES_S. Raises QuestionError."""
    name = given.get("range", "24h")
    if name not in RANGES_S:
        raise QuestionError("range", name, "a range", tuple(RANGES_S))
    return name


def span_of(name: str, now_s: float) -> tuple[float, float, int]:
    """Since when, until when and in which steps: whole steps, so that a store can add up beforehand."""
    length_s, step_s = RANGES_S[name]
    until_s = (now_s // step_s + 1) * step_s
    return until_s - length_s, until_s, step_s


def number_of(given: Mapping[str, str], name: str, default: int, allowed: range) -> int:
    """A whole number. Raises QuestionError."""
    value = given.get(name, "")
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and int(value) in allowed):
        raise QuestionError(name, value, f"a whole number from {allowed.start} to {allowed.stop - 1}")
    return int(value)


def position_of(given: Mapping[str, str], name: str) -> Position | None:
    """Where a page begins or ends. Raises QuestionError."""
    value = given.get(name, "")
    if not value:
        return None
    found = _CURSOR.fullmatch(value)
    if found is None:
        raise QuestionError(name, value, "what a link to the next page has; leave it out for the newest")
    return Position(float(found[1]), found[2])


def cursor(position: Position) -> str:
    """As `position_of` reads it."""
    return f"{position.time_s!r}~{position.id}"
