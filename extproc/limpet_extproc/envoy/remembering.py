"""What the outcome of a turn leaves in the memory: where its conversation is warm now, or what failed it."""

from collections.abc import Callable
from functools import lru_cache
from struct import Struct

from limpet_extproc.contract.attempt import Attempt
from limpet_extproc.contract.record import Record
from limpet_extproc.decision.prefix import HEAD_HASH_BYTES
from limpet_extproc.envoy import trail
from limpet_extproc.envoy.usage import TokenUsage
from limpet_extproc.memory import LastFailure, Memory, ServedTurn, Warm
from limpet_extproc.memory.heads import HeadMemory
from limpet_extproc.providers.cache_use import CacheUses


class Remembering:
    """Tells the memory what became of each turn."""

    def __init__(self, memory: Memory, heads: HeadMemory, caches: CacheUses, clock: Callable[[], float]) -> None:
        self._memory = memory
        self._heads = heads
        self._caches = caches
        self._clock = clock

    def began(self, record: Record | None, provider: str) -> None:
        """The answer of this provider comes: its cache has the prompt."""
        if record is not None and record.learn and record.heads and (ttl_s := _ttl_s(record, provider)) > 0:
            until_s = record.started_s + ttl_s
            self._heads.note(_hashes(record), provider, until_s, self._clock(), _expected_s(record))

    def ended(self, record: Record, attempts: tuple[Attempt, ...], usage: TokenUsage | None, cause: str) -> None:
        """Remember the provider that served, before all others; where none did, that these failed.

        One that failed before another served stays behind that one, as its cache still holds what it held. `usage` is
        None where the answer told none, `cause` what became of the read from the cache.
        """
        if not record.learn:
            return
        if not attempts:
            self.unanswered(record)
            return
        key, last, now_s = record.key, attempts[-1], self._clock()
        provider = last.provider
        ttl_s = _ttl_s(record, provider)
        if last.outcome != "ok" or ttl_s <= 0:
            if last.outcome == "ok":
                self._memory.forget(key, provider)
            failed = trail.failed_providers(attempts)
            if failed:
                self._memory.note_failure(key, LastFailure(failed, now_s))
            self.unanswered(record)
            return
        prompt_tokens = usage.prompt if usage else record.prompt_tokens
        output_tokens = usage.output if usage else record.output_tokens
        warm = Warm(
            provider,
            record.started_s + ttl_s,
            prompt_tokens,
            (usage.cached or 0) + usage.written if usage and usage.written is not None else 0,
            record.chain,
            record.settings,
        )
        cached_tokens = (usage.cached or 0) if usage else 0
        turn = ServedTurn(record.started_s, prompt_tokens, output_tokens, cause, cached_tokens)
        self._memory.remember(key, warm, record.max_providers, now_s, turn)
        self._caches.warm(provider, key, warm.until_s)
        if record.heads:
            self._heads.note(_hashes(record), provider, warm.until_s, now_s, _expected_s(record))
            if provider != record.order[0]:
                self._drop_heads(record)

    def unanswered(self, record: Record | None) -> None:
        """It was not served where it would be remembered, and nobody waits for it any longer."""
        if record is not None and record.expected:
            self._memory.withdraw(record.key, record.order[0])
            self._drop_heads(record)

    def _drop_heads(self, record: Record) -> None:
        """What was on its way to the first provider did not arrive there."""
        if record.heads and record.expected:
            self._heads.drop(_hashes(record), record.order[0])


def _ttl_s(record: Record, provider: str) -> float:
    """How long its cache keeps the prompt; 0 where staying does not pay."""
    return record.ttls_s[record.order.index(provider)] if provider in record.order else 0.0


def _expected_s(record: Record) -> float:
    """When its heads were said to be on their way; 0: they were not."""
    return record.started_s if record.expected else 0.0


def _hashes(record: Record) -> tuple[bytes, ...]:
    return _parts(len(record.heads) // HEAD_HASH_BYTES).unpack_from(record.heads)


@lru_cache(maxsize=64)  # A prompt has few heads.
def _parts(count: int) -> Struct:
    return Struct(f"{HEAD_HASH_BYTES}s" * count)
