"""The attempts of one request, put together from what its access log entry says. Pure.

Envoy's Lua notes what each bad answer came to, under the number of its attempt (`limpet.trail`). An attempt without a
note had no answer, or is the last. Which provider it was at follows from the order and from how often each is tried.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from limpet_extproc.contract.attempt import CAUSES, MAX_SAYS, Attempt, AttemptOutcome, Cause
from limpet_extproc.contract.envoy import (
    TRAIL_CAUSE,
    TRAIL_MESSAGE,
    TRAIL_PROVIDER,
    TRAIL_RETRY_AFTER,
    TRAIL_STATUS,
    TRAIL_VERDICT,
)
from limpet_extproc.providers.blank import blanked

_ABOUT_THE_REQUEST: Final[frozenset[str]] = frozenset(
    {
        "Forbidden",
        "Limited",
        "ModelNotFound",
        "NotAnAnswer",
        "ErrorInAnswer",
        "Overloaded",
        "ServerError",
        "Timeout",
        "UnusableStatus",
    }
)
"""What a request may bring about itself: if it meets the same at each of several providers, none is to blame."""

OF_THE_PROVIDER: Final[frozenset[str]] = frozenset(
    {"CredentialRefused", "NoCredit", "ConnectionFailed", "Unreachable", "Redirected"}
)
"""What concerns all its models; any other failure is held against the one model that was asked for."""


class Noted(msgspec.Struct, frozen=True, gc=False):
    """What the Lua noted of an answer that was none."""

    provider: str
    status: int
    refused: bool
    cause: Cause
    says: str
    retry_after: str = ""


class Ended(msgspec.Struct, frozen=True, gc=False):
    """How the last attempt ended, by Envoy's own account."""

    provider: str
    status: int
    outcome: AttemptOutcome
    cause: Cause = ""


class Course(msgspec.Struct, frozen=True, gc=False):
    """What is known of a request's way: the decision's part and the log's."""

    order: tuple[str, ...]
    tries: int
    model: str
    number: int
    """Of attempts."""
    noted: Mapping[int, Noted]
    timed_out: bool
    """The last attempt was not made, as the one before had taken all the time."""


def noted(fields: Mapping[str, Any]) -> dict[int, Noted]:
    """The notes by the number of their attempt. What is not as the Lua writes it is left out."""
    notes = {}
    for number, value in fields.items():
        if not number.isdecimal() or not value.HasField("struct_value"):
            continue
        said = value.struct_value.fields
        cause = said[TRAIL_CAUSE].string_value
        notes[int(number)] = Noted(
            provider=said[TRAIL_PROVIDER].string_value,
            status=_status(said[TRAIL_STATUS].string_value),
            refused=said[TRAIL_VERDICT].string_value == "refused",
            cause=cast("Cause", cause) if cause in CAUSES else "ServerError",
            says=blanked(said[TRAIL_MESSAGE].string_value)[:MAX_SAYS],
            retry_after=said[TRAIL_RETRY_AFTER].string_value,
        )
    return notes


def _status(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 3 else 0


def attempts(course: Course, last: Ended, waits_s: Mapping[int, float]) -> tuple[Attempt, ...]:
    """All of them in their order. `waits_s`: by attempt number, how long a 429 asked us to wait, where it said so."""
    made: list[Attempt] = []
    begin = position = 0
    model, number = course.model, course.number - 1 if course.timed_out else course.number
    for each in range(1, number + 1):
        note = course.noted.get(each)
        step = (each - begin - 1) // course.tries
        if note is not None:
            outcome: AttemptOutcome = "refused" if note.refused else "limited" if each in waits_s else "failed"
            made.append(Attempt(note.provider, model, note.status, outcome, note.cause, note.says))
            position, begin = position + step + 1, each
        elif each < course.number:
            if position + step < len(course.order):
                cause: Cause = "Timeout" if course.timed_out and each == number else "ConnectionFailed"
                made.append(Attempt(course.order[position + step], model, 0, "failed", cause))
        elif last.provider:
            made.append(Attempt(last.provider, model, last.status, last.outcome, last.cause))
    return tuple(made)


def held_against(made: Sequence[Attempt]) -> tuple[Attempt, ...]:
    """What health hears of a request: at most one failure a provider, none where the request seems to be the cause.

    A provider that answered after all has only closed a connection that we had kept too long.
    """
    answered = {each.provider for each in made if each.outcome in ("ok", "refused")}
    worst: dict[str, Attempt] = {}
    for each in made:
        if each.outcome in ("failed", "limited") and each.provider not in answered:
            before = worst.get(each.provider)
            if before is None or (each.status and not before.status):
                worst[each.provider] = each
    causes = {each.cause for each in worst.values()}
    asked = {each.provider for each in made}
    if len(asked) > 1 and asked == set(worst) and len(causes) == 1 and causes <= _ABOUT_THE_REQUEST:
        return ()
    return tuple(worst.values())
