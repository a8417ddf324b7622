"""The course of one request in sentences: why it went to whom it went first, and what came of that."""

from limpet_activity.web.numbers import NOTHING, usd
from limpet_activity.web.sentences import OUTCOMES, why
from limpet_extproc.contract.activity import ActivityRecord, TriedProvider


def went_on_from(record: ActivityRecord) -> TriedProvider | None:
    """The attempt at the provider that came first, where another one answered; None: it was the only one."""
    first = record.attempts[0] if record.attempts else None
    return first if first is not None and record.provider not in ("", first.provider) else None


def why_it_went(record: ActivityRecord) -> str:
    """Why the first provider came first, as the reason is about that one; and its failure, where another answered."""
    first = went_on_from(record)
    if first is None:
        return why(record.reason, record.provider)
    return f"{why(record.reason, first.provider)} But {failure(first)}, so {record.provider} answered."


def why_it_switched(record: ActivityRecord, served_before: str) -> str:
    """Of a turn that another provider answered than the one before."""
    first = went_on_from(record)
    if first is not None and first.provider == served_before:
        return f"It went to {served_before} again, but {failure(first)}, so {record.provider} answered."
    return why_it_went(record)


def under_enforce(record: ActivityRecord) -> str:
    """In mode Observe: where Enforce would have sent it, what that would have cost, and why; empty in others."""
    if not record.enforce_reason:
        return ""
    where = "have decided otherwise"
    if record.enforce_provider:
        where = f"have sent it to {record.enforce_provider}"
    if record.enforce_provider and record.enforce_provider == record.provider:
        where += " too"
    return f"Enforce would {where}{_difference(record)}: {why(record.enforce_reason, record.enforce_provider)}"


def _difference(record: ActivityRecord) -> str:
    """Between what was paid and what Enforce would have; nothing where it would be shown as zero."""
    if record.observed_usd is None or record.paid_usd is None:
        return ""
    saved = record.paid_usd - record.observed_usd
    if usd(saved) in (usd(0.0), NOTHING):
        return ""
    return f" and saved {usd(saved)}" if saved > 0 else f" and cost {usd(-saved)} more"


def failure(tried: TriedProvider) -> str:
    """What came of an attempt: `alpha failed with 503 (server error)`."""
    status = f" with {tried.status}" if tried.status else ""
    cause = f" ({in_words(tried.cause)})" if tried.cause else ""
    return f"{tried.provider} {OUTCOMES.get(tried.outcome, tried.outcome)}{status}{cause}"


def in_words(cause: str) -> str:
    """`ServerError` as `server error`."""
    spaced = "".join(f" {char.lower()}" if char.isupper() and not cause.isupper() else char for char in cause).strip()
    return spaced.replace("t l s", "TLS") or NOTHING
