"""Reasons and causes as sentences: what the words of a record mean, told to somebody who looks at one request."""

from collections.abc import Mapping
from typing import Final

from limpet_activity.store.facts import bare_cause

REASONS: Final[Mapping[str, str]] = {
    "sticky.hit": "The conversation was expected to be in this provider's cache.",
    "sticky.pending": "An earlier request of the conversation was still under way to this provider, so this one "
    "followed it.",
    "sticky.within": "The client steered, and among what it allows the warm provider came first.",
    "sticky.returned": "It was warm at several providers and went back to an earlier one, where it is expected to cost "
    "less from here on.",
    "sticky.moved.cheaper": "It was warm elsewhere, and moved to where it is expected to cost less from here on.",
    "sticky.expired": "Every cache that had the conversation had let it go, so it was placed anew.",
    "sticky.left.degraded": "The warm provider failed too often or was much slower than usual, and another one was "
    "well.",
    "sticky.left.down": "The warm provider was down.",
    "sticky.left.failed": "A provider had failed this conversation a moment before, so another one came first.",
    "sticky.left.over_limit": "The warm provider was at its rate limit.",
    "sticky.left.not_candidate": "The warm provider no longer served this model.",
    "first.scored": "A new conversation: it went where it was expected to cost least, spread among near-equals.",
    "first.warm_head": "A new conversation that begins as others do: it went where that beginning was warm.",
    "bypass.order": "The client named an order of providers.",
    "bypass.only": "The client allowed certain providers only.",
    "bypass.ignore": "The client ruled providers out.",
    "bypass.sort": "The client asked for the cheapest or the fastest.",
    "bypass.allow_fallbacks": "The client allowed no second try.",
    "off.spread": "Stickiness is switched off by the policy, so it was spread among near-equals.",
    "observe.spread": "The policy only observes, so it was spread among near-equals.",
    "stateless.spread": "This API has no conversations, so the request was spread among near-equals.",
    "pinned.object": "It goes on from something that this provider alone has.",
    "placed.object": "A new object, placed with the provider that gets all objects of this client.",
    "last_resort.all_out": "Every provider was down, at its limit or full; they were tried all the same.",
    "unsticky.no_cache": "This provider keeps no prompt cache, so nothing was remembered.",
    "unsticky.below_minimum": "The prompt was shorter than the shortest that this provider caches.",
    "unsticky.no_breakpoint": "This provider caches only what is marked, and nothing was marked.",
    "unsticky.no_discount": "Reading from this provider's cache costs as much as reading without it.",
    "fallback.undecided": "No worker answered, so Envoy routed it by its own rules.",
    "answered.models": "The gateway answered itself: the list of models.",
    "answered.health": "The gateway answered itself: how it is doing.",
    "answered.explained": "The gateway answered itself: where it would send the request. Nothing was sent on.",
    "answered.preflight": "The gateway answered itself: a browser asked whether a page may use it.",
    "refused.bad_request": "The body was no request of the API that its path names.",
    "refused.content_encoding": "The body was compressed, and prompts have to be read.",
    "refused.method": "The path is served, but not with this method.",
    "refused.nobody_left": "The client's demands ruled out every provider of the model.",
    "refused.object_gone": "What it goes on from is not known as this client's own, or its provider is gone.",
    "refused.unknown_model": "No provider serves this model by the API that was asked.",
    "refused.untranslatable": "A field of the request cannot be translated for the model's providers.",
    "refused.debug": "It asked for an explanation alone, and its client may not, or no worker was there to give one.",
    "refused.unauthorized": "It had no key of the gateway's, or one that is not known.",
    "refused.model_not_allowed": "The client's key is not for this model.",
    "refused.over_key_limit": "The client's key had used what it may by the minute or by the day.",
    "refused.unchecked": "Keys are required, and no worker was there to check this one.",
    "refused.malformed": "It was not valid HTTP.",
    "refused.origin": "A browser page of an origin that is not allowed sent it.",
    "refused.unknown_path": "The path is not served.",
    "refused.too_slow": "The request did not arrive in time.",
    "refused.too_large": "The body was larger than the gateway accepts.",
    "refused.host": "It used a host name that is not the gateway's own.",
    "refused.headers_too_large": "Its headers were too large, or too many.",
    "refused.no_provider": "No provider is configured, or none was accepted.",
    "refused.overloaded": "The gateway had no memory left for another request.",
    "refused.websocket": "It wanted a WebSocket, and the gateway speaks plain HTTP.",
}
"""By `contract.reasons.Reason`."""

CACHE_CAUSES: Final[Mapping[str, str]] = {
    "hit": "All or nearly all that was expected in the cache was read.",
    "partial": "Same prompt, same provider, in time, and still less was read than should be there: vendors drop the "
    "least used parts first.",
    "ttl_expired": "The cache had let the conversation go: its lifetime since the last turn had passed.",
    "provider_switched": "Another provider had served the last turn, and this one's cache did not have it.",
    "prefix_changed": "The prompt departs from the last turn's, and no cache reads beyond that place.",
    "model_changed": "The last turn asked for another model, and models share no cache.",
    "below_minimum": "The prompt was shorter than the shortest that the provider caches.",
    "parallel_first": "The first request with this beginning was still under way, so its cache was not there yet.",
    "no_breakpoint": "The provider caches only what is marked, and nothing was marked.",
    "cold_start": "A first turn: nothing of it was known to be warm there.",
    "provider_side": "Same prompt, same provider, in time, and nothing was read: the vendor dropped it early, or "
    "another of its machines answered.",
    "unreported": "The answer does not say what was read from the cache.",
    "unknown": "What is known allows several causes.",
}
"""By `contract.reasons.CacheCause`."""

EXCLUSIONS: Final[Mapping[str, str]] = {
    "not_candidate": "does not serve this model",
    "degraded": "fails too often, or is much slower than usual",
    "down": "is down",
    "over_limit": "is at its rate limit",
    "draining": "takes no new conversations",
    "just_failed": "had just failed this conversation",
    "ignored": "the client ruled it out",
    "not_in_only": "the client allowed only others",
    "not_in_order": "the client named an order without it",
    "above_max_price": "costs more than the client allows",
    "data_policy": "does not declare the data policy that the client demands",
    "demand_unknown": "cannot meet a demand of the client",
    "untranslatable": "a field of the request cannot be translated for it",
}
"""By `contract.reasons.Exclusion`: after the provider's name."""

OUTCOMES: Final[Mapping[str, str]] = {
    "ok": "answered",
    "failed": "failed",
    "limited": "was at its limit",
    "refused": "refused the request",
    "client_left": "the client left",
}
"""By `contract.attempt.AttemptOutcome`."""

_THIS_ONE: Final = "this provider"

UNKNOWN_REASON: Final = "Why it went there is not known."


def why(reason: str, provider: str = "") -> str:
    """The reason as a sentence. `provider`: the one that it is about, if that is known."""
    if not reason:
        return UNKNOWN_REASON
    text = REASONS.get(reason, f"{reason}: a reason that this page does not know yet.")
    return text.replace(_THIS_ONE, provider) if provider else text


def what_became_of_the_read(cause: str, reason: str = "") -> str:
    """The cause as a sentence, without the reason that has been told; empty: there was nothing to expect."""
    if not cause:
        return ""
    if cause == "hit" and reason.startswith("first."):
        return "A first turn, whose beginning others had left in the cache: it was read."
    text = CACHE_CAUSES.get(bare_cause(cause), f"{cause}: a cause that this page does not know yet.")
    detail = cause.partition("(")[2].rstrip(")")
    match bare_cause(cause), detail:
        case _, told if told in ("", reason):
            return text
        case "prefix_changed", _:
            return f"The prompt departs from the last turn's at {_place(detail)}, and no cache reads beyond that."
        case "provider_switched", _ if detail in REASONS:
            return f"{text} {REASONS[detail]}"
        case "partial", _:
            return f"{text} It was {detail} tokens."
    return f"{text} ({detail})"


def _place(detail: str) -> str:
    return {"tools": "its tools", "system": "its system prompt"}.get(detail, detail)


def passed_over(word: str) -> str:
    """The exclusion, as it follows the provider's name."""
    return EXCLUSIONS.get(word, word)
