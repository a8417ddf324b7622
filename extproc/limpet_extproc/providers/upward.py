"""Which of a worker's events the workers beside other Envoys need. Pure.

An answer of a provider that is well is no news to them, and answers are nearly all that happens. After a failure the
next answer is: without it, single failures of many requests would look like failures in a row from afar.
"""

from limpet_extproc.providers.events import AnswerGenerated, AttemptSucceeded, ProviderEvent


def concerns_other_gateways(event: ProviderEvent, *, well: bool) -> bool:
    """`well`: before the event there was nothing against the provider, nor against the model there."""
    match event:
        case AttemptSucceeded():
            return not well
        case AnswerGenerated():
            return False
        case _:
            return True
