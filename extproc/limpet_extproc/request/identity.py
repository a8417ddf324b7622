"""Which conversation a request belongs to: the first name that it gives, then a key that gives nothing away."""

import hmac
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from limpet_extproc.contract.envoy import AGENT_HEADERS, CODEX_SESSION_HEADERS, SESSION_HEADERS, WORKLOAD_KEPT
from limpet_extproc.decision.clients import Client
from limpet_extproc.dialects.port import ParsedRequest
from limpet_extproc.request.workload import workload_of

MAX_SESSION_CHARS: Final = 256
"""Longer values are ignored; the limit that clients know from other gateways."""

KEY_BYTES: Final = 16
OWNER_BYTES: Final = 8

FINGERPRINT: Final = "fingerprint"
"""How a conversation is recognised that is named by nothing but what opens it."""

_UNAMBIGUOUS: Final = msgspec.msgpack.Encoder()
"""Lengths stand before contents, so that no two sets of parts encode alike."""

_AND: Final = b"\n"
"""Stands in no header."""

_WORKLOAD: Final = b"workload" + _AND
"""Before the name of one, so that no credential says the same."""

_EXPLICIT: Final = ("x-session-id",)
_HARNESS: Final = frozenset(SESSION_HEADERS)
CREDENTIALS: Final = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
"""Headers in which SDKs send a key."""


def conversation(headers: Mapping[str, str], request: ParsedRequest, configured: Sequence[str]) -> tuple[str, bytes]:
    """How the conversation was recognised, and the value by which.

    `headers` have lower-case names. `configured` are the policy's own headers; they come before all others. The
    fields of the dialect itself come after all headers. A subagent is a conversation of its own (record 55).
    """
    if configured and (found := _first(headers, configured)):
        return f"header:{found[0]}", found[1]
    if found := _first(headers, _EXPLICIT):
        return found
    if request.session_id and (value := _usable(request.session_id)):
        return "session_id", value
    if not headers.keys().isdisjoint(_HARNESS) and (found := _first(headers, SESSION_HEADERS)):
        name, session = found
        agent = _usable(headers.get(AGENT_HEADERS.get(name, "")))
        return name, session if agent is None else session + _AND + agent
    if "codex" in headers.get("user-agent", "").lower() and (found := _first(headers, CODEX_SESSION_HEADERS)):
        return found
    for field, hint in request.session_hints:
        if value := _usable(hint):
            return field, value
    return FINGERPRINT, request.fingerprint


def tenant(headers: Mapping[str, str], client: Client | None = None) -> bytes:
    """Whose conversation it is: the client that has a key of ours, else the credential sent, or nothing.

    Where workloads count, one comes before the credential. Only the HMAC of either is ever kept.
    """
    if client is not None:
        return client.tenant
    if (told := headers.get(WORKLOAD_KEPT)) and (workload := workload_of(told)):
        return _WORKLOAD + workload.encode()
    for name in CREDENTIALS:
        if value := headers.get(name):
            return value.encode()
    return b""


def key(secret: bytes, owner: bytes, user: str | None, model: str, identified_by: str, value: bytes) -> bytes:
    """The conversation's key: HMAC-SHA256 under the installation's secret; it reveals neither tenant nor text."""
    message = _UNAMBIGUOUS.encode((owner, user or "", model, identified_by, value))
    return _digest(secret, message)[:KEY_BYTES]


class Owner(NamedTuple):
    """A client, without its credential."""

    name: str
    """An HMAC, hexadecimal."""
    secret: bytes
    """Known to nobody who has not the installation's."""


def owner(secret: bytes, client: bytes) -> Owner:
    """Whose request it is, and whose objects those are that it makes; `client` as `tenant` gives it."""
    digest = _digest(secret, _UNAMBIGUOUS.encode(("owner", client)))
    return Owner(digest[:OWNER_BYTES].hex(), digest[OWNER_BYTES:])


@lru_cache(maxsize=1024)
def owner_by_name(secret: bytes, client: bytes) -> Owner:
    """`owner` of a client with a key of ours (`Client.tenant`): it may be kept, as no credential is kept with it."""
    return owner(secret, client)


class Identified(NamedTuple):
    """A conversation, and what its key was made from, but for the client: only turns of the same one may go by it."""

    made_from: tuple[str | None, str, str, bytes]
    """User, model, how it was recognised and the value by which."""
    key: bytes
    owner: Owner
    seed: bytes
    """See `prefix_seed`."""
    tenant: str
    """Whose request it was, hexadecimal; empty: the client sent no key."""


def prefix_seed(owner: Owner, api: str, model: str) -> bytes:
    """The seed of `prefix.chain_of`."""
    return _UNAMBIGUOUS.encode((owner.secret, api, model))


def beginning_seed(secret: bytes, tenant: bytes, api: str, asked: Sequence[str]) -> bytes:
    """The seed of `beginnings.Beginnings`: whose a body is, and what it asks for."""
    return _UNAMBIGUOUS.encode((secret, tenant, api, asked))


def object_key(secret: bytes, object_id: str) -> bytes:
    """The key of an object, whosever it is."""
    return hmac.digest(secret, _UNAMBIGUOUS.encode(("object", object_id)), "sha256")[:KEY_BYTES]


def _digest(secret: bytes, message: bytes) -> bytes:
    """HMAC-SHA256; to begin with the secret each time would take twice as long."""
    begun = _begun(secret).copy()
    begun.update(message)
    return begun.digest()


@lru_cache(maxsize=4)
def _begun(secret: bytes) -> hmac.HMAC:
    return hmac.new(secret, digestmod="sha256")


def _first(headers: Mapping[str, str], names: Sequence[str]) -> tuple[str, bytes] | None:
    for name in names:
        if value := _usable(headers.get(name)):
            return name, value
    return None


def _usable(value: str | None) -> bytes | None:
    return value.encode() if value and len(value) <= MAX_SESSION_CHARS else None
