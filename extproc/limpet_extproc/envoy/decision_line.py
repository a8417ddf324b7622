"""One line a request, for a person who watches: what came, where it went, why, and what it read from the cache."""

from collections.abc import Sequence
from typing import Final

import msgspec

from limpet_extproc.contract.attempt import Attempt
from limpet_extproc.contract.record import Record
from limpet_extproc.envoy.usage import Usage

_LONGEST_PATH: Final = 100
_UNRECOGNISED: Final = "goes on, but its opener is new; if each turn says so, send x-session-id"


class Told(msgspec.Struct, frozen=True, gc=False):
    """What became of a request, as far as its line says it."""

    reason: str
    """The decision's word; empty where nobody said one."""
    status: int
    """What the client got; 0: nothing."""
    duration_s: float
    record: Record | None = None
    """None: nobody decided, or it was refused."""
    attempts: Sequence[Attempt] = ()
    """All of them in their order."""
    usage: Usage | None = None
    method: str = ""
    path: str = ""
    """With the query, which is not shown: keys stand in some."""


def decision_line(told: Told, at: str) -> str:
    """`at` is the time of day. The conversation is shown by the beginning of its key; nothing of its text is known."""
    record = told.record
    what = f"{record.key[:8]}  {record.model}" if record else f"{told.method or '-'} {_shown(told.path) or '-'}"
    would = f" (would be {record.would})" if record and record.would is not None else ""
    passed_over = record.excluded.items() if record else ()
    left_out = "".join(f", without {name} ({reason})" for name, reason in passed_over)
    hint = _UNRECOGNISED if record and record.unrecognised else ""
    why = f"{told.reason or '-'}{would}"
    parts = [at, what, why, _way(told) + left_out, _cached(told), f"{told.duration_s:.3f} s", hint]
    return "  ".join(part for part in parts if part)


def _way(told: Told) -> str:
    """`alpha 401 > beta 200`; what the client got, where that is not what the last of them said."""
    if not told.attempts:
        return str(told.status or "no answer")
    way = " > ".join(map(_attempt, told.attempts))
    last = told.attempts[-1]
    if last.outcome == "client_left" or told.status in (0, last.status):
        return way
    return f"{way}, so {told.status}"


def _attempt(attempt: Attempt) -> str:
    if attempt.outcome == "client_left":
        return f"{attempt.provider} until the client left"
    # A status below 400 does not say that it went wrong, and one alone says no more than its cause.
    cause = attempt.cause if attempt.outcome != "ok" and attempt.status < 400 else ""
    return " ".join(part for part in (attempt.provider, str(attempt.status or ""), cause) if part)


def _cached(told: Told) -> str:
    """Of a request that was answered; any other has read nothing that anybody knows of."""
    if told.usage is None:
        answered = bool(told.attempts) and told.attempts[-1].outcome == "ok"
        return "usage unreported" if answered else ""
    if told.usage.cached is None:
        return f"{told.usage.prompt} tokens, cache unreported"
    return f"{told.usage.cached} of {told.usage.prompt} tokens cached"


def _shown(path: str) -> str:
    """A client wrote it, so it may hold anything: terminals act on control characters."""
    plain = path.partition("?")[0].encode("unicode_escape").decode("ascii")
    return plain if len(plain) <= _LONGEST_PATH else plain[: _LONGEST_PATH - 1] + "…"
