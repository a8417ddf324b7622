"""Whether a provider fails too many of its requests, though never several in a row: a sliding window. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec


@dataclass(frozen=True, slots=True)
class ErrorRateThresholds:
    """What counts, and what is too much; reasons in decision 0048."""

    window_s: float = 60.0
    attempts: int = 20
    """The last ones of the window that count."""
    min_attempts: int = 10
    min_failures: int = 4
    enter: float = 0.3
    """At least this share failed: degraded."""
    leave: float = 0.1
    """A degraded provider returns only below it."""


DEFAULT_RATE: Final = ErrorRateThresholds()


class ErrorWindow(msgspec.Struct, frozen=True, gc=False):
    """The last attempts at one provider, or at one model there, oldest first."""

    at_s: tuple[float, ...] = ()
    failed: tuple[bool, ...] = ()
    conversations: tuple[str, ...] = ()
    """Of each, as far as its failure may be due to the request."""


EMPTY_WINDOW: Final = ErrorWindow()


def with_attempt(
    window: ErrorWindow,
    now_s: float,
    *,
    failed: bool,
    conversation: str = "",
    thresholds: ErrorRateThresholds = DEFAULT_RATE,
) -> ErrorWindow:
    """The window with one more attempt; what has become too old or too many is dropped.

    `conversation`: of a failure that may be due to the request. Each has one in the window.
    """
    begin = max(0, len(window.at_s) + 1 - thresholds.attempts)
    oldest_s = now_s - thresholds.window_s
    while begin < len(window.at_s) and window.at_s[begin] <= oldest_s:
        begin += 1
    conversations = window.conversations[begin:]
    if conversation and conversation in conversations:
        return ErrorWindow(window.at_s[begin:], window.failed[begin:], conversations)
    return ErrorWindow((*window.at_s[begin:], now_s), (*window.failed[begin:], failed), (*conversations, conversation))


def calm_window(answers_at_s: Iterable[float]) -> ErrorWindow:
    """The window of attempts that all went well."""
    at_s = tuple(answers_at_s)
    return ErrorWindow(at_s, (False,) * len(at_s), ("",) * len(at_s))


def too_many(window: ErrorWindow, thresholds: ErrorRateThresholds = DEFAULT_RATE) -> bool:
    """Whether so many failed that the provider is degraded."""
    attempts, failures = len(window.failed), sum(window.failed)
    return (
        attempts >= thresholds.min_attempts
        and failures >= thresholds.min_failures
        and failures >= thresholds.enter * attempts
    )


def still_failing(window: ErrorWindow, thresholds: ErrorRateThresholds = DEFAULT_RATE) -> bool:
    """Whether too many fail for a degraded provider to return."""
    attempts = len(window.failed)
    return attempts >= thresholds.min_attempts and sum(window.failed) > thresholds.leave * attempts
