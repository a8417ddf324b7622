"""Why a request is not routed: what is wrong with it, and what would be right."""

from typing import Final

from limpet_extproc.contract.catalog import DialectName
from limpet_extproc.decision.snapshot import Lane, Snapshot
from limpet_extproc.decision.steering import Steering, allowed_by
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.dialects.provider_object import SUPPORTED
from limpet_extproc.request.suggestions import suggestion

_MAX_LISTED: Final = 20
_MAX_NAME_CHARS: Final = 200


def bad_request(param: str | None, message: str, code: str | None = None) -> Refusal:
    """The request cannot be understood; `param` is the field that is wrong."""
    return Refusal(400, "refused.bad_request", message, param, code)


def encoded_body(encoding: str) -> Refusal:
    """The body is compressed, or worse."""
    message = f"the body is encoded as '{encoding}', and prompts are read here: send it without content-encoding"
    return Refusal(415, "refused.content_encoding", message, None, "unsupported_content_encoding")


def unknown_model(model: str, dialect: DialectName, snapshot: Snapshot) -> Refusal:
    """No provider serves this model in this dialect; the message lists what is served."""
    models = snapshot.models(dialect)
    more = f" and {len(models) - _MAX_LISTED} more" if len(models) > _MAX_LISTED else ""
    served = ", ".join(models[:_MAX_LISTED]) + more
    message = f"The model '{model[:_MAX_NAME_CHARS]}' is not served here. Served are: {served or 'none yet'}."
    return Refusal(404, "refused.unknown_model", message, "model", "model_not_found")


def nobody_left(lane: Lane, steering: Steering) -> Refusal:
    """The client's demands leave no provider; the message names the demand, and what would leave one."""
    param = allowed_by(steering, lane).unmet or "provider"
    serving = [candidate.provider for candidate in lane.candidates]
    message = f"'{param}' leaves nobody to serve '{lane.model}'. It is served by: {', '.join(serving)}."
    advice = _ADVICE.get(param, "")
    if param in steering.unsupported and not advice:
        advice = f"Kept here are: {', '.join(SUPPORTED)}; other demands only by a provider of the vendor OpenRouter."
    elif param == "provider.only" and (close := suggestion(steering.only or (), serving)):
        advice = f"Did you mean '{close}'?"
    return Refusal(400, "refused.nobody_left", f"{message} {advice}".rstrip(), param, "no_provider_left")


_ADVICE: Final = {
    "provider.zdr": (
        "Of none that other demands leave is it known that it keeps no prompts; "
        "'spec.dataPolicy' of a Provider can say so."
    ),
    "provider.data_collection": (
        "Of none that other demands leave is it known that it does not train on prompts; "
        "'spec.dataPolicy' of a Provider can say so."
    ),
    "provider.max_price.prompt": "A price that is not known meets no limit.",
    "provider.max_price.completion": "A price that is not known meets no limit.",
}
