"""What one answer to a probe comes to. Pure."""

import re
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from limpet_extproc.contract.api_keys import blanked
from limpet_extproc.contract.attempt import MAX_MESSAGE_CHARS, Cause
from limpet_extproc.contract.health_stream import ProbeAnswer, Verdict
from limpet_operator.probe.no_answer import no_answer
from limpet_operator.publish.error_cause import OF_THE_REQUEST, error_cause
from limpet_operator.resources.healthprobe import CompletionCheck, HealthProbe, HttpCheck
from limpet_operator.resources.provider import Provider

_BOM: Final = "\ufeff"
# Atomic: what a provider sends must not make it slow.
_HTML: Final = re.compile(rf"{_BOM}?(?>\s|<\?xml.*?\?>|<!--.*?-->)*+<(!doctype html|html)", re.IGNORECASE | re.DOTALL)
_OF_PATHS: Final[frozenset[Cause]] = OF_THE_REQUEST | {"ModelNotFound", "PathNotFound", "NotAnAnswer"}
_JSON: Final = re.compile(rf"{_BOM}?\s*[{{\[]")


class Outcome(NamedTuple):
    """One probe, ended."""

    level: Verdict | None
    """The verdict that it speaks for; None: it shows nothing about the provider."""
    cause: Cause = ""
    status: int = 0
    message: str = ""
    """The provider's own, or Envoy's: one line of at most MAX_MESSAGE_CHARS, keys blanked."""
    not_sent: str = ""
    """Why it did not reach the provider, if that is why it shows nothing."""

    @property
    def blames_probe(self) -> bool:
        """Whether the provider answered that the probe itself is wrong."""
        return self.level is None and self.cause != ""

    def says_the_same_as(self, other: "Outcome") -> bool:
        """Whether they differ by their words at most, which may hold the number of the request."""
        return (self.level, self.cause, self.status) == (other.level, other.cause, other.status)


NOTHING: Final = Outcome(None)
"""Before the first probe has ended."""


def outcome(answer: ProbeAnswer, probe: HealthProbe, provider: Provider, keys: Collection[str] = ()) -> Outcome:
    """`answer` is what became of a request of this probe at this provider; its own `keys` are in no message."""
    if answer.failure or not answer.status:
        cause, message = no_answer(answer.failure, provider.url.host, probe.timeout_s)
        shown = _shown(message, keys)
        return Outcome(None, not_sent=shown) if cause is None else Outcome("Down", cause, message=shown)
    cause = _cause(answer, probe.check, provider.vendor)
    if cause:
        return Outcome(_level(cause, answer.status, probe.check), cause, answer.status, _message(answer.body, keys))
    slow_s = probe.thresholds.degraded_after_s
    if slow_s is not None and answer.seconds > slow_s:
        message = f"slower than the probe's degradedAfter ({slow_s:g} s)"
        return Outcome("Degraded", "SlowFirstByte", answer.status, message)
    return Outcome("Up", status=answer.status)


def _level(cause: Cause, status: int, check: HttpCheck | CompletionCheck) -> Verdict | None:
    if cause in ("Limited", "Overloaded"):
        return "Limited"
    # What the provider finds faulty is the probe: it was up to read it. Of a path that does not exist the same is true.
    faulty = cause in OF_THE_REQUEST if isinstance(check, CompletionCheck) else cause == "UnusableStatus"
    return None if faulty and status // 100 == 4 else "Down"


def _cause(answer: ProbeAnswer, check: HttpCheck | CompletionCheck, vendor: str) -> Cause:
    """Empty if it is the answer of a provider that is up."""
    if answer.status // 100 == 3:
        return "Redirected"
    if isinstance(check, CompletionCheck):
        if answer.status in (200, 201):
            return _error_in(answer) or ("" if _has_completion(answer.body) else "NotAnAnswer")
        cause = error_cause(vendor, answer.status, answer.body)
        return "ModelNotFound" if cause == "NotFound" else cause  # the probe names nothing else
    if any(low <= answer.status <= high for low, high in check.expected_statuses):
        return _error_in(answer) if answer.status // 100 == 2 else ""
    cause = error_cause(vendor, answer.status, answer.body)
    # Of a path that is not there, or not for GET, nothing is known but its status.
    return "UnusableStatus" if cause in _OF_PATHS else cause


def _error_in(answer: ProbeAnswer) -> Cause:
    """What is wrong with an answer that calls itself a success; empty: nothing."""
    html = "text/html" in answer.content_type.lower() or _HTML.match(answer.body)
    if html and not _JSON.match(answer.body):
        return "NotAnAnswer"
    return "ErrorInAnswer" if _states_error(_decoded(answer.body)) else ""


def _decoded(body: str) -> Any:
    """None for what is no JSON; so is a long answer of which only the beginning was read."""
    try:
        return msgspec.json.decode(body.removeprefix(_BOM))
    except (msgspec.DecodeError, RecursionError):
        return None


def _states_error(answer: object) -> bool:
    # Google's errors are arrays of one; vLLM's may be objects that call themselves so.
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]
    if not isinstance(answer, Mapping):
        return False
    if answer.get("object") == "error" or answer.get("success") is False:
        return True
    choices = answer.get("choices")
    nested = choices if isinstance(choices, list) else []
    return _is_error(answer) or any(isinstance(choice, Mapping) and _is_error(choice) for choice in nested)


def _is_error(member: Mapping[str, Any]) -> bool:
    """Some vendors send an `error` that is null, empty or without content with every good answer."""
    error = member.get("error")
    if member.get("finish_reason") == "error":
        return True
    return any(error.values()) if isinstance(error, Mapping) else isinstance(error, str) and error != ""


def _has_completion(body: str) -> bool:
    """Whether there is a choice (chat), or a list of content (Messages) or output (Responses), which may be empty."""
    decoded = _decoded(body)
    if not isinstance(decoded, Mapping):
        return False
    choices = decoded.get("choices")
    if isinstance(choices, list):
        return len(choices) > 0
    return isinstance(decoded.get("content" if decoded.get("type") == "message" else "output"), list)


def _message(body: str, keys: Collection[str]) -> str:
    """The provider's words: those of its error if there is one, else the beginning of the body."""
    decoded = _decoded(body)
    if isinstance(decoded, list) and decoded:
        decoded = decoded[0]
    if isinstance(decoded, Mapping):
        error = decoded.get("error")
        for holder in (error, decoded):
            if isinstance(holder, Mapping):
                for name in ("message", "detail", "error"):
                    if isinstance(words := holder.get(name), str) and words:
                        return _shown(words, keys)
    return _shown(body, keys)


def _shown(words: str, keys: Collection[str]) -> str:
    return blanked(words, keys)[:MAX_MESSAGE_CHARS]
