"""Names of a conversation for the caches of providers, as good as its key and telling nothing about it.

Each provider gets another, so that two vendors cannot tell by them that they serve the same conversation.
"""

import hmac
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Raw
from xxhash import xxh3_64

from limpet_extproc.decision.snapshot import Candidate
from limpet_extproc.dialects.opener import ABSENT
from limpet_extproc.dialects.spans import span_of
from limpet_extproc.dialects.text import decode
from limpet_extproc.request.splices import NULL, AnyBody, BodyDraft, Splice

FIELD: Final = "prompt_cache_key"
_NAME_BYTES: Final = 16
_WINDOW_S: Final = 60.0


class KeyRates:
    """How often this worker has routed each conversation in the present minute.

    A count of its own, so with several workers a conversation may have more than one knows of; and what two minutes
    share of a burst is not seen. Both are fine for what it is for: vendors state about how many requests stay together.
    """

    __slots__ = ("_counts", "_minute")

    MOST: Final = 50_000
    """Conversations that are counted; further ones count as if each request were their first."""

    def __init__(self) -> None:
        self._minute = -1
        self._counts: dict[bytes, int] = {}

    def before(self, key: bytes, now_s: float) -> int:
        """How many came in this minute."""
        return self._counts.get(key, 0) if int(now_s // _WINDOW_S) == self._minute else 0

    def count(self, key: bytes, now_s: float) -> int:
        """Count a request; the answer is how many came before it."""
        minute = int(now_s // _WINDOW_S)
        if minute != self._minute:
            self._minute, self._counts = minute, {}
        before = self._counts.get(key, 0)
        if before or len(self._counts) < self.MOST:
            self._counts[key] = before + 1
        return before


def affinity(conversation: bytes, provider: str) -> str:
    """The name for a provider that keeps a conversation at one of its replicas by a header."""
    return _derived(conversation, f"affinity {provider}")


def cache_key(conversation: bytes, provider: str, before: int, most_a_minute: int) -> str:
    """A `prompt_cache_key`: another one for each further `most_a_minute` requests of a minute, if there is such a rate.

    A vendor would send those beyond its rate to other machines one by one; so each of these keys has a warm one.
    """
    shard = before // most_a_minute if most_a_minute else 0
    return _derived(conversation, f"prompt_cache_key {provider} {shard}")


def settings_with_keys(settings: bytes, candidates: Iterable[Candidate], before: int) -> bytes:
    """`Warm.settings` of a request that gets these keys: others where a key is not the first of its minute.

    So a turn that reads nothing, as it has another key than the last one, is not laid at the vendor's door.
    """
    rates = {each.cache_fields.cache_key_rpm for each in candidates if each.cache_key}
    shards = [before // rate for rate in sorted(rates) if rate]
    if not settings or not any(shards):
        return settings
    return xxh3_64(settings + b"".join([shard.to_bytes(8, "little") for shard in shards])).digest()[: len(settings)]


def _derived(conversation: bytes, purpose: str) -> str:
    # The conversation's key is secret and random enough to be the key of an HMAC itself.
    return hmac.digest(conversation, purpose.encode(), "sha256")[:_NAME_BYTES].hex()


class _Keyed(msgspec.Struct, frozen=True, gc=False):
    prompt_cache_key: Raw = ABSENT


_KEYED: Final = msgspec.json.Decoder(_Keyed)


def put_key(draft: BodyDraft, body: AnyBody, key: str) -> None:
    """Add the key, or write it in the place of null. The body is known to name none; whatever else is there stays."""
    written = bytes(body)
    # However it is spelled: an escape in a key is rare, but a provider reads it.
    if b"prompt_cache_key" in written or b"\\u" in written:
        fields, seen = decode(_KEYED, written)
        if fields.prompt_cache_key is not ABSENT:
            span = span_of(seen, fields.prompt_cache_key)
            if written[span.offset] == NULL:
                draft.splices.append(Splice(*span, f'"{key}"'))
            return
    draft.added.append(f'"{FIELD}":"{key}"')
