"""The attempts of one request, put together from its access log entry. Pure.

Envoy's Lua notes what each bad answer came to, under the number of its attempt. An attempt without a note had no
answer, or is the last. Its provider follows from the order and from how often each is tried.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from limpet_extproc.contract.api_keys import blanked
from limpet_extproc.contract.attempt import (
    CAUSES,
    MAX_MESSAGE_CHARS,
    OF_ONE_API,
    PERHAPS_OF_THE_REQUEST,
    Attempt,
    AttemptOutcome,
    Cause,
)
from limpet_extproc.contract.envoy import (
    TRAIL_CAUSE,
    TRAIL_MESSAGE,
    TRAIL_OUTCOME,
    TRAIL_PROVIDER,
    TRAIL_RETRY_AFTER,
    TRAIL_STATUS,
)

_WITHOUT_USAGE: Final = "The answer carries no token usage, as every answer of this vendor does."

LIMITS: Final[frozenset[Cause]] = frozenset({"Limited", "Overloaded"})
"""The provider works, but takes no more at present."""


class AttemptNote(msgspec.Struct, frozen=True, gc=False):
    """What the Lua noted about a bad answer."""

    provider: str
    status: int
    refused: bool
    cause: Cause
    message: str
    retry_after: str = ""


class LastAttempt(msgspec.Struct, frozen=True, gc=False):
    """How the last attempt ended, as Envoy itself saw it."""

    provider: str
    status: int
    outcome: AttemptOutcome
    cause: Cause = ""


class Course(msgspec.Struct, frozen=True, gc=False):
    """What the decision and the log show of a request's attempts."""

    order: tuple[str, ...]
    tries: int
    model: str
    attempt_count: int
    notes: Mapping[int, AttemptNote]
    timed_out: bool
    """The last attempt was not made, as the one before had taken all the time."""
    waited: int = 0
    """The attempt after which its provider was waited for and tried once more; 0: none."""


def notes_of(fields: Mapping[str, Any]) -> dict[int, AttemptNote]:
    """The notes by the number of their attempt. Anything that the Lua does not write so is left out."""
    notes = {}
    for number, value in fields.items():
        if not number.isdecimal() or not value.HasField("struct_value"):
            continue
        note = value.struct_value.fields
        cause = note[TRAIL_CAUSE].string_value
        notes[int(number)] = AttemptNote(
            provider=note[TRAIL_PROVIDER].string_value,
            status=_status(note[TRAIL_STATUS].string_value),
            refused=note[TRAIL_OUTCOME].string_value == "refused",
            cause=cast("Cause", cause) if cause in CAUSES else "ServerError",
            message=blanked(note[TRAIL_MESSAGE].string_value)[:MAX_MESSAGE_CHARS],
            retry_after=note[TRAIL_RETRY_AFTER].string_value,
        )
    return notes


def _status(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 3 else 0


def attempts(course: Course, last: LastAttempt) -> tuple[Attempt, ...]:
    """All of them in their order."""
    made: list[Attempt] = []
    begin = position = 0
    model = course.model
    count = course.attempt_count - 1 if course.timed_out else course.attempt_count
    for number in range(1, count + 1):
        note = course.notes.get(number)
        step = (number - begin - 1) // course.tries
        if note is not None:
            outcome: AttemptOutcome = "refused" if note.refused else "limited" if note.cause in LIMITS else "failed"
            made.append(Attempt(note.provider, model, note.status, outcome, note.cause, note.message))
            position, begin = position + step + 1, number
            if number == course.waited:  # its provider has one more place
                position, begin = position - 1, number - (course.tries - 1)
        elif number < course.attempt_count:
            if position + step < len(course.order):
                cause: Cause = "Timeout" if course.timed_out and number == count else "ConnectionFailed"
                made.append(Attempt(course.order[position + step], model, 0, "failed", cause))
        elif last.provider:
            made.append(Attempt(last.provider, model, last.status, last.outcome, last.cause))
    return tuple(made)


def without_usage(attempts: Sequence[Attempt]) -> tuple[Attempt, ...]:
    """The attempts, the last of which answered without the usage that every answer of its provider carries."""
    if not attempts or attempts[-1].outcome != "ok":
        return tuple(attempts)
    last = msgspec.structs.replace(attempts[-1], outcome="failed", cause="NotAnAnswer", message=_WITHOUT_USAGE)
    return (*attempts[:-1], last)


def left(attempts: Sequence[Attempt]) -> tuple[Attempt, ...]:
    """The attempts, of the last of which the client did not take the answer: what it came to is unknown."""
    if not attempts or attempts[-1].outcome != "ok":
        return tuple(attempts)
    return (*attempts[:-1], msgspec.structs.replace(attempts[-1], outcome="client_left"))


def failed_providers(attempts: Sequence[Attempt]) -> tuple[str, ...]:
    """The providers that failed the request, each once; also where the request may be the cause."""
    last = attempts[-1]
    # After a connection that we had kept too long it may answer at once.
    spared = None if last.outcome in ("failed", "limited") else last.provider
    failed = (attempt.provider for attempt in attempts if attempt.outcome in ("failed", "limited"))
    return tuple(dict.fromkeys(name for name in failed if name != spared))


def failures(attempts: Sequence[Attempt]) -> tuple[Attempt, ...]:
    """What counts against providers: at most one failure each.

    What concerns one of its APIs alone does not. A provider that answered after all has only closed a connection that
    we had kept too long. Where another one refused the request, what may lie in the request does not count either.
    """
    refused = any(attempt.outcome == "refused" for attempt in attempts)
    answered = {attempt.provider for attempt in attempts if attempt.outcome in ("ok", "refused")}
    worst: dict[str, Attempt] = {}
    for attempt in attempts:
        if attempt.outcome not in ("failed", "limited") or attempt.provider in answered:
            continue
        if attempt.cause not in OF_ONE_API and not (refused and attempt.cause in PERHAPS_OF_THE_REQUEST):
            before = worst.get(attempt.provider)
            if before is None or (attempt.status and not before.status):
                worst[attempt.provider] = attempt
    return tuple(worst.values())
