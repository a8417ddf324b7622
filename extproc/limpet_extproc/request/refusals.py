"""Why a request is not routed: what is wrong with it, and what would be right."""

from collections.abc import Mapping
from typing import Final

from limpet_extproc.contract.apis import CONVERSATIONS, MESSAGE_BATCHES, MOST_PATH_CHARS
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.request_price import allowed_by_demands
from limpet_extproc.decision.snapshot import Snapshot
from limpet_extproc.decision.steering import Steering
from limpet_extproc.dialects.port import Pin, Refusal
from limpet_extproc.dialects.provider_object import SUPPORTED
from limpet_extproc.request.suggestions import suggested_model, suggestion

_MAX_LISTED: Final = 20
_MAX_NAME_CHARS: Final = 200


def bad_request(param: str | None, message: str, code: str | None = None) -> Refusal:
    """The request cannot be understood; `param` is the field that is wrong."""
    return Refusal(400, "refused.bad_request", message, param, code)


def long_path() -> Refusal:
    """The path is longer than that of any API, and only its beginning was looked at."""
    return Refusal(
        414, "refused.bad_request", f"The path has more than {MOST_PATH_CHARS} characters.", None, "long_path"
    )


def encoded_body(encoding: str) -> Refusal:
    """The body has a content-encoding."""
    message = f"The body is encoded as '{encoding}'. Limpet has to read the prompt; send the body uncompressed."
    return Refusal(415, "refused.content_encoding", message, None, "unsupported_content_encoding")


def unknown_model(model: str, api: str, snapshot: Snapshot) -> Refusal:
    """No provider serves this model by this API, or none is named; the message lists what this API serves."""
    models = snapshot.models(api)
    more = f" and {len(models) - _MAX_LISTED} more" if len(models) > _MAX_LISTED else ""
    served = ", ".join(models[:_MAX_LISTED]) + more
    if not model and models:
        return bad_request("model", f"'model' is missing. Available models: {served}.")
    if not model:
        message = f"No model is served here by {_api(api)}. {_LISTED_BY.get(api, _ENDPOINT).format(api)}"
        return Refusal(404, "refused.unknown_model", message, "model", "model_not_found")
    shown = model[:_MAX_NAME_CHARS]
    others = [each for each, name in snapshot.lanes if name == model and each != api]
    if others:
        by = " or ".join(map(_api, others[:_MAX_APIS]))
        message = f"The model '{shown}' is served here, but not by {_api(api)}: ask for it by {by}."
        available = f" Available models of {_api(api)}: {served}." if models else ""
    else:
        message = f"The model '{shown}' is not served here."
        close = suggested_model(model, models)
        available = (f" Did you mean '{close}'?" if close else "") + f" Available models: {served or 'none yet'}."
    return Refusal(404, "refused.unknown_model", message + available, "model", "model_not_found", shown)


_MAX_APIS: Final = 3
_WORDS: Final = {
    "OpenAIChat": "chat completions (/v1/chat/completions)",
    "OpenAIResponses": "Responses (/v1/responses)",
    "AnthropicMessages": "Messages (/v1/messages)",
    MESSAGE_BATCHES: "/v1/messages/batches",
}
_ENDPOINT: Final = "A Provider lists '{}' in spec.endpoints."
_LISTED_BY: Final[Mapping[str, str]] = dict.fromkeys(
    map(str, CONVERSATIONS.values()), "A Provider lists '{}' in spec.dialects."
)


def _api(name: str) -> str:
    return _WORDS.get(name, f"/v1/{name}")


_LIMITS: Final = frozenset({"provider.max_price.prompt", "provider.max_price.completion"})


def _above_limit(query: Query) -> str:
    """Without a price: those are between the operator of this gateway and the providers."""
    unknown = [each.provider for each in query.lane.candidates if each.price is None][:_MAX_LISTED]
    if not unknown:
        return "All that meet your other demands cost more for this request."
    return f"The price of these is unknown, which meets no limit: {', '.join(unknown)}."


def nobody_left(query: Query) -> Refusal:
    """The client's demands leave no provider; the message names the demand, and what would leave one."""
    lane, steering = query.lane, query.steering or Steering()
    param = allowed_by_demands(steering, query).unmet or "provider"
    if param == steering.untranslatable:
        return untranslatable(param, steering.untranslatable_why, lane.model)
    serving = [candidate.provider for candidate in lane.candidates]
    message = f"'{param}' rules out every provider of '{lane.model}'. It is served by: {', '.join(serving)}."
    advice = _above_limit(query) if param in _LIMITS else _ADVICE.get(param, "")
    if param in steering.unsupported and not advice:
        advice = f"Limpet enforces {', '.join(SUPPORTED)}; only a Provider of vendor OpenRouter can meet other demands."
    elif param == "provider.only" and (close := suggestion(steering.only or (), serving)):
        advice = f"Did you mean '{close}'?"
    return Refusal(400, "refused.nobody_left", f"{message} {advice}".rstrip(), param, "no_provider_left", lane.model)


def pin_ruled_out(provider: str) -> Refusal:
    """The client's demands rule out the one provider that can serve this."""
    message = f"This goes on from what '{provider}' alone has, and 'provider' rules that provider out."
    return Refusal(400, "refused.nobody_left", message, "provider", "no_provider_left")


def gone(pin: Pin) -> Refusal:
    """What the request goes on from is not known here, or its provider is gone: in the words of OpenAI's own API."""
    name = pin.id[:_MAX_NAME_CHARS]
    if pin.field == "conversation":
        return Refusal(404, "refused.object_gone", f"Conversation with id '{name}' not found.", pin.field)
    message = f"Previous response with id '{name}' not found."
    return Refusal(400, "refused.object_gone", message, pin.field, "previous_response_not_found")


def no_object(api: str, object_id: str) -> Refusal:
    """Nothing of this id is known as the client's own, or its provider is gone."""
    name = object_id[:_MAX_NAME_CHARS]
    if api in CONVERSATIONS.values():
        message = f"Response with id '{name}' not found."
    else:
        message = (
            f"No such object: '{name}'. Known are those that this client has made here, unless their memory was away."
        )
    return Refusal(404, "refused.object_gone", message, "id")


def apart(where: Mapping[str, str]) -> Refusal:
    """A new object names others that no provider has all of; `where`: one of each, by provider."""
    places = ", ".join(f"'{object_id[:_MAX_NAME_CHARS]}' at {provider}" for provider, object_id in where.items())
    apart = f"The objects that this names live at different providers: {places}."
    message = f"{apart} Create all of them again, one after the other."
    return bad_request(None, message, "objects_apart")


def no_list(method: str, path: str) -> Refusal:
    """A list would hold the objects of all clients, as they share the account."""
    message = (
        f"{method} /v1{path[:_MAX_NAME_CHARS]} is not served: all clients of this gateway share an account at the "
        "provider, and it would be about what belongs to others. Ask for each object by its id."
    )
    return Refusal(405, "refused.method", message, None, "list_not_supported")


def places_unknown(param: str | None) -> Refusal:
    """The memory is away, so nobody knows which provider has it."""
    message = "Which provider has this cannot be looked up at present; send the request again in a few seconds."
    return Refusal(503, "refused.object_gone", message, param, "memory_unavailable")


def untranslatable(field: str, why: str, model: str) -> Refusal:
    """A field cannot be carried over to the API that the model's providers speak."""
    name = field[:_MAX_NAME_CHARS]
    message = (
        f"'{name}' cannot be translated for the providers of '{model[:_MAX_NAME_CHARS]}', which speak Anthropic's "
        f"Messages: {why[:_MAX_NAME_CHARS]}. Change it, or ask for a model of a provider that speaks chat completions."
    )
    return Refusal(400, "refused.untranslatable", message, name, "untranslatable", model)


_ADVICE: Final = {
    "provider.zdr": (
        "None of the remaining providers is known to keep no prompts; "
        "a Provider declares it in spec.dataPolicy.zeroRetention."
    ),
    "provider.data_collection": (
        "None of the remaining providers is known not to train on prompts; "
        "a Provider declares it in spec.dataPolicy.trainsOnPrompts."
    ),
}
