"""Whether a client may be served: by the key that it sends, by the model, and by what it has used already."""

from collections.abc import Callable, Mapping
from math import ceil
from typing import Final

from limpet_extproc.contract.catalog import Limits
from limpet_extproc.contract.client_keys import KEY_PREFIX
from limpet_extproc.decision.clients import Client, Clients
from limpet_extproc.decision.limits import Used, is_full, ratios
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.request.identity import CREDENTIALS

_BEARER: Final = "bearer"
_AUTHORIZATION: Final = "authorization"
_MAX_LISTED: Final = 10
_MAX_NAME_CHARS: Final = 200
_DAY_S: Final = 86_400

ACCEPTED_IN: Final = "Authorization: Bearer KEY, or x-api-key: KEY"


def client_of(headers: Mapping[str, str], clients: Clients) -> Client | Refusal | None:
    """Who asks, by the one key of ours among the headers in which SDKs send keys; None: a stranger who may ask.

    Beside a key of ours others are allowed, such as the token of a proxy in front; two of different clients are not.
    """
    found: Client | None = None
    sent = looks_ours = False
    for name in CREDENTIALS:
        value = headers.get(name)
        if value is None or not (key := _key(name, value)):
            continue
        sent = True
        client = clients.of_key(key)
        if client is None:
            looks_ours = looks_ours or key.startswith(KEY_PREFIX)
        elif found is None or found is client:
            found = client
        else:
            return _unauthorized("The request has the keys of two clients: send one of them.")
    if found is not None:
        return found
    if looks_ours or (sent and clients.mode == "Required"):
        return _unauthorized("The key is not known here: it may be mistyped, revoked, or that of another gateway.")
    return _unauthorized(f"This gateway asks for a key: send {ACCEPTED_IN}.") if clients.mode == "Required" else None


def _key(header: str, value: str) -> str:
    """The key in a header's value; empty: there is none."""
    if header != _AUTHORIZATION:
        return value.strip()
    scheme, _, key = value.strip().partition(" ")
    return key.strip() if scheme.lower() == _BEARER else ""


def _unauthorized(message: str) -> Refusal:
    return Refusal(401, "refused.unauthorized", message, None, "invalid_api_key")


def not_allowed(client: Client, model: str) -> Refusal | None:
    """Why this client may not have this model; None: it may."""
    if client.may_use(model):
        return None
    shown = model[:_MAX_NAME_CHARS]
    listed = ", ".join(client.models[:_MAX_LISTED]) + (" and others" if len(client.models) > _MAX_LISTED else "")
    message = f"The key of '{client.name}' is not for the model '{shown}', but for: {listed}."
    return Refusal(403, "refused.model_not_allowed", message, "model", "model_not_allowed", shown, client=client.name)


MAY_MAKE: Final = frozenset({"files", "uploads", "vector_stores", "containers", "conversations"})
"""APIs that run no model, or only with a turn that names it."""


RUNS_ITS_MODEL: Final = frozenset({"assistants", "videos"})
"""APIs whose `model` is all that they run. Others ignore it, or have models elsewhere as well: a batch in its file."""


def unseen_model(client: Client, api: str, model: str = "") -> Refusal | None:
    """Why a client that is bound to some models may not make an object whose models nobody looks up.

    `model`: the one that the request names; empty: none.
    """
    if model and (no := not_allowed(client, model)) is not None:
        return no
    if not client.models or api in MAY_MAKE or (model and api in RUNS_ITS_MODEL):
        return None
    message = (
        f"The key of '{client.name}' is for some models alone, and which ones {api} will use cannot be checked here: "
        "ask for it with a key that is for all models."
    )
    return Refusal(403, "refused.model_not_allowed", message, None, "model_not_allowed", client=client.name)


def over_limit(client: Client, used: Used, tokens: int, room_in_s: Callable[[Limits], int]) -> Refusal | None:
    """Why a client has to wait, if one more request of so many tokens goes beyond a limit by the minute.

    `room_in_s`: in how many seconds there is room for it.
    """
    limits = client.limits
    if limits is None or not is_full(limits, used, tokens):
        return None
    after = ratios(limits, Used(0, used.requests + 1, used.tokens + tokens))
    what = max(after, key=after.__getitem__)
    most = limits.requests_per_minute if what == "requestsPerMinute" else limits.tokens_per_minute
    wait_s = max(room_in_s(limits), 1)
    message = f"The key of '{client.name}' has a limit, {what}: {most}, which is reached: try again in {wait_s} s."
    return _over(client, what, message, wait_s)


def over_budget(client: Client, spent_usd: float, now_s: float) -> Refusal | None:
    """Why a client has to wait for tomorrow, if it has spent what it may in a day."""
    if client.usd_per_day is None or spent_usd < client.usd_per_day:
        return None
    message = (
        f"The key of '{client.name}' has a limit, usdPerDay: {client.usd_per_day:g}, which is reached today (UTC)."
    )
    return _over(client, "usdPerDay", message, ceil(_DAY_S - now_s % _DAY_S))


def _over(client: Client, limit: str, message: str, wait_s: int) -> Refusal:
    return Refusal(
        429,
        "refused.over_key_limit",
        message,
        None,
        "rate_limit_exceeded",
        client=client.name,
        limit=limit,
        retry_after_s=wait_s,
    )
