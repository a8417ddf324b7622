"""Requests from a user's own logs: when each came and how long it was, under the names that logs use for that.

One JSON object a line, at least with a time and the tokens of prompt and answer. Usage objects of OpenAI's and
Anthropic's APIs are read as they are. There is no text of prompts, and none is needed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from limpet_lab.replay.json_lines import Notes, in_order, read_each
from limpet_lab.replay.trace import MOST_TOKENS

_TIMES: Final = ("at", "time", "timestamp", "created", "created_at")
_PROMPT: Final = ("prompt_tokens", "input_tokens")
_BESIDES: Final = ("cache_read_input_tokens", "cache_creation_input_tokens")
"""What Anthropic counts beside `input_tokens`."""
_OUTPUT: Final = ("output_tokens", "completion_tokens")
_CONVERSATION: Final = ("conversation", "conversation_id", "session_id", "thread_id")
_SYSTEM: Final = "system_tokens"
_MILLISECONDS: Final = 1e11
"""A time above that is in milliseconds since 1970; as seconds it would be in the year 5138."""
_DATES_S: Final = 1e8
"""A time below that is no date, but counts from the beginning of the log."""


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One line."""

    at_s: float
    """Unix time, or from the beginning of the log."""
    prompt_tokens: int
    output_tokens: int
    model: str = ""
    conversation: str = ""
    """Empty: unknown."""
    system_tokens: int = 0
    """Of the prompt's beginning, which all requests for this model that have as much share; 0: unknown."""


@dataclass(frozen=True, slots=True)
class RequestLog:
    """The requests in the order of their times."""

    requests: tuple[LoggedRequest, ...]
    notes: Notes = ()

    @property
    def has_dates(self) -> bool:
        """Whether its times are Unix times."""
        return bool(self.requests) and self.requests[0].at_s >= _DATES_S


class _LineError(ValueError):
    """A line that is no request; the message says why."""


def log_of_lines(lines: Iterable[bytes], name: str) -> RequestLog:
    """The requests in these lines. What cannot be read is left out, and noted. Raises TraceError if none is left."""
    wanted = (
        "an object with at (a date, or seconds), prompt_tokens and output_tokens; better with model and conversation"
    )
    read, left_out = read_each(lines, name, lambda line: _request(msgspec.json.decode(line)), wanted)
    requests, put_in_order = in_order(read, lambda request: request.at_s)
    return RequestLog(requests, (*left_out, *put_in_order))


def _request(line: object) -> LoggedRequest:
    if not isinstance(line, dict):
        raise _LineError("no object")
    usage = line.get("usage")
    counts: Mapping[str, Any] = {**(usage if isinstance(usage, dict) else {}), **line}
    prompt, prompt_name = _first(counts, _PROMPT)
    besides = [_tokens(counts.get(name) or 0, name, 0) for name in _BESIDES] if prompt_name == _PROMPT[1] else []
    output, output_name = _first(counts, _OUTPUT)
    model = line.get("model")
    conversation = next((line[name] for name in _CONVERSATION if line.get(name) is not None), "")
    return LoggedRequest(
        _time_s(line),
        _tokens(prompt, prompt_name, 1 if not besides else 0) + sum(besides),
        _tokens(output, output_name, 0),
        model if isinstance(model, str) else "",
        str(conversation),
        _tokens(line.get(_SYSTEM) or 0, _SYSTEM, 0),
    )


def _first(counts: Mapping[str, Any], names: tuple[str, ...]) -> tuple[object, str]:
    for name in names:
        if counts.get(name) is not None:
            return counts[name], name
    raise _LineError(f"no {' or '.join(names)}")


def _tokens(value: object, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST_TOKENS:
        raise _LineError(f"{name} is no number of tokens")
    return value


def _time_s(line: Mapping[str, Any]) -> float:
    value, name = _first(line, _TIMES)
    if isinstance(value, str):
        try:
            when = datetime.fromisoformat(value)
        except ValueError as error:
            raise _LineError(f"{name} is no date such as 2026-11-30T09:15:00Z") from error
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e15:
        raise _LineError(f"{name} is no time")
    return value / 1000 if value >= _MILLISECONDS else float(value)
