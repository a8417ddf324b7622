"""The clients that a gateway knows by their keys, as tables: who sent a key, and what that client may use."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from limpet_extproc.contract.catalog import NO_KEYS, Limits
from limpet_extproc.contract.client_keys import (
    LONGEST_KEY,
    SHORTEST_KEY,
    ClientKey,
    ClientKeys,
    ClientKeysMode,
    digest_of,
    same_digest,
)

USE_PREFIX: Final = "@"
"""Before a client's name where its use is counted beside that of providers, whose names never begin so."""

_LOOKED_UP_BYTES: Final = 8


class Client(msgspec.Struct, frozen=True, gc=False):
    """A client with a key of ours."""

    name: str
    tenant: bytes
    """What conversations, heads and objects are its own by; no header can say the same, as none has a line feed."""
    use: str
    """The name under which its use is counted."""
    models: tuple[str, ...] = ()
    limits: Limits | None = None
    usd_per_day: float | None = None
    debug: bool = False
    """Whether it may ask for explanations."""

    def may_use(self, model: str) -> bool:
        """Whether it may ask for this model."""
        return not self.models or any(model == each or fnmatchcase(model, each) for each in self.models)


@dataclass(frozen=True, slots=True)
class Clients:
    """All of them."""

    mode: ClientKeysMode = "Off"
    keys: ClientKeys = NO_KEYS
    limited: Mapping[str, Limits] = field(default_factory=dict)
    """The limits of those that have any, by `Client.use`."""
    budgets: bool = False
    """Whether any may spend so much a day."""
    by_name: Mapping[str, Client] = field(default_factory=dict)
    by_digest: Mapping[bytes, tuple[tuple[bytes, Client], ...]] = field(default_factory=dict, repr=False)
    """By the first bytes of a key's digest; the rest is compared."""
    seen: dict[str, Client] = field(default_factory=dict, repr=False, compare=False)
    """By the keys of theirs that have come, so that each is hashed once: no more than there are digests. It is looked
    up by Python's own hash, under a secret of the process, so the time that takes tells nothing about other keys."""

    def of_key(self, key: str) -> Client | None:
        """Whose key this is; None: nobody's."""
        if (found := self.seen.get(key)) is not None:
            return found
        if not SHORTEST_KEY <= len(key) <= LONGEST_KEY:
            return None
        digest = digest_of(key)
        for whole, client in self.by_digest.get(digest[:_LOOKED_UP_BYTES], ()):
            if same_digest(whole, digest):
                self.seen[key] = client
                return client
        return None


STRANGERS: Final = Clients()
"""Of a gateway that looks at no keys."""


def clients_of(keys: ClientKeys, before: Clients = STRANGERS) -> Clients:
    """The tables of a catalog's keys; `before` only saves work."""
    if keys == before.keys:
        return before
    by_digest: dict[bytes, tuple[tuple[bytes, Client], ...]] = {}
    by_name: dict[str, Client] = {}
    for key, client in _clients(keys.keys):
        by_name[client.name] = client
        for digest in map(bytes.fromhex, key.digests):
            first = digest[:_LOOKED_UP_BYTES]
            by_digest[first] = (*by_digest.get(first, ()), (digest, client))
    limited = {each.use: each.limits for each in by_name.values() if each.limits is not None}
    budgets = any(each.usd_per_day is not None for each in by_name.values())
    return Clients(keys.mode, keys, limited, budgets, by_name, by_digest)


def _clients(keys: Iterable[ClientKey]) -> Iterable[tuple[ClientKey, Client]]:
    for key in keys:
        limits = None
        if key.requests_per_minute is not None or key.tokens_per_minute is not None:
            limits = Limits(requests_per_minute=key.requests_per_minute, tokens_per_minute=key.tokens_per_minute)
        yield (
            key,
            Client(
                name=key.name,
                tenant=b"\n" + key.name.encode(),
                use=USE_PREFIX + key.name,
                models=key.models,
                limits=limits,
                usd_per_day=key.usd_per_day,
                debug=key.debug,
            ),
        )
