"""One line for each request, to watch: what came, where it went, why, and what it read from the cache."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from limpet_extproc.contract.api_keys import blanked
from limpet_extproc.contract.attempt import Attempt
from limpet_extproc.contract.record import Record
from limpet_extproc.decision.cause import CacheFinding
from limpet_extproc.envoy.usage import TokenUsage

_LONGEST_PATH: Final = 100
_UNRECOGNISED: Final = "has earlier turns but was not recognised; if this repeats, send x-session-id"


class RequestSummary(msgspec.Struct, frozen=True, gc=False):
    """What became of a request, for its line."""

    reason: str
    """Why it went where it went; empty if unknown."""
    status: int
    """What the client got; 0: nothing."""
    duration_s: float
    record: Record | None = None
    """None: no worker decided, or it was refused."""
    attempts: Sequence[Attempt] = ()
    """All of them in their order."""
    usage: TokenUsage | None = None
    method: str = ""
    path: str = ""
    """With the query, which is not shown: some hold keys."""
    field: str = ""
    """What a refusal names as wrong."""
    model: str = ""
    """What a refused request asked for, where that is known."""
    finding: CacheFinding | None = None
    """Why it read from the cache what it read."""


def decision_line(summary: RequestSummary, at: str) -> str:
    """`at` is the time of day. The conversation is shown by the beginning of its key."""
    record = summary.record
    asked = " ".join((summary.method or "-", _shown(summary.path) or "-", summary.model)).rstrip()
    what = _what(record) if record else asked
    observed = f" (would be {record.enforce_reason})" if record and record.enforce_reason is not None else ""
    left_out = "".join(f", without {name} ({reason})" for name, reason in _passed_over(summary))
    hint = _UNRECOGNISED if record and record.unrecognised else ""
    why = f"{_why(summary)}{observed}"
    parts = [at, what, why, _way(summary) + left_out, _cached(summary), f"{summary.duration_s:.3f} s", hint]
    return "  ".join(part for part in parts if part)


def _what(record: Record) -> str:
    """The API in the place of the conversation where there is none, and of the model of what has none."""
    if record.kind in ("stateless", "object"):
        return f"{record.api}  {record.model or 'object'}"
    by = "" if record.api == "OpenAIChat" else f" by {record.api}"
    return f"{record.key[:4].hex()}  {record.model}{by}"


def _why(summary: RequestSummary) -> str:
    """Where a count of tokens went is of interest only if it went to where its conversation is."""
    if summary.record is not None and summary.record.kind == "counting" and summary.reason.startswith("unsticky."):
        return "counting"
    return f"{summary.reason or '-'}{f' ({summary.field})' if summary.field else ''}"


def _passed_over(summary: RequestSummary) -> Iterator[tuple[str, str]]:
    """One that was tried all the same, because no other did or because the conversation is warm there, was not."""
    tried = {attempt.provider for attempt in summary.attempts}
    excluded = summary.record.excluded if summary.record else {}
    return ((name, reason) for name, reason in excluded.items() if name not in tried)


def _way(summary: RequestSummary) -> str:
    """`alpha 401 > beta 200`; and what the client got, if that is not the status of the last."""
    if not summary.attempts:
        return str(summary.status or "no answer")
    way = " > ".join(map(_attempt, summary.attempts))
    last = summary.attempts[-1]
    if last.outcome == "client_left" or summary.status in (0, last.status):
        return way
    return f"{way}, so {summary.status}"


def _attempt(attempt: Attempt) -> str:
    if attempt.outcome == "client_left":
        return f"{attempt.provider} until the client left"
    # A status below 400 does not show that it went wrong.
    cause = attempt.cause if attempt.outcome != "ok" and attempt.status < 400 else ""
    return " ".join(part for part in (attempt.provider, str(attempt.status or ""), cause) if part)


def _cached(summary: RequestSummary) -> str:
    """Of a request that was answered; what any other read from a cache is unknown."""
    if summary.usage is None:
        answered = bool(summary.attempts) and summary.attempts[-1].outcome == "ok"
        expected = summary.record is None or summary.record.kind == "conversation"
        return "usage unreported" if answered and expected else ""
    if summary.record is not None and summary.record.kind != "conversation":
        return ""  # nothing that a cache could hold
    written = f", {summary.usage.written} written" if summary.usage.written else ""
    if summary.usage.cached is None:
        return f"{summary.usage.prompt} tokens, cache unreported{written}"
    why = f": {summary.finding}" if summary.finding is not None and summary.finding.cause != "hit" else ""
    return f"{summary.usage.cached} of {summary.usage.prompt} tokens cached{written}{why}"


def _shown(path: str) -> str:
    """A client wrote it, so it may hold anything, by mistake its key: terminals act on control characters."""
    plain = blanked(path.partition("?")[0].encode("unicode_escape").decode("ascii"))
    return plain if len(plain) <= _LONGEST_PATH else plain[: _LONGEST_PATH - 1] + "…"
