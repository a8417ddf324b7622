"""One line a decision, for a person who watches: what came, where it went, why, and what it read from the cache."""

from collections.abc import Sequence

from limpet_extproc.attempt import Attempt
from limpet_extproc.record import Record
from limpet_extproc.usage import Usage


def decision_line(
    record: Record,
    provider: str,
    status: int,
    usage: Usage | None,
    duration_s: float,
    attempts: Sequence[Attempt] = (),
) -> str:
    """The conversation is shown by the first characters of its key; nothing of its text is known here."""
    failed = [f"{each.provider} {each.status or each.cause}" for each in attempts[:-1]]
    tried = " > ".join([*failed, provider])
    why = record.reason if record.would is None else f"{record.reason} (would be {record.would})"
    if usage is None:
        cached = "usage unreported"
    elif usage.cached is None:
        cached = f"{usage.prompt} tokens, cache unreported"
    else:
        cached = f"{usage.cached} of {usage.prompt} tokens cached"
    answer = status or "no answer"
    passed_over = "".join(f", without {name} ({reason})" for name, reason in record.excluded.items())
    return f"{record.key[:8]}  {record.model}  {why}  {tried}{passed_over}  {answer}  {cached}  {duration_s:.3f} s"
