"""Cache rules one by one, on a virtual clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_lab.sim.cache import PrefixCache
from limpet_lab.sim.prompt import Prompt, Ruler, render
from limpet_lab.sim.rules import CacheRules, rules_for

_RULER = Ruler(1.0)


def _prompt(tokens: int, tail: str = "") -> Prompt:
    head = ("abcdefg" * tokens)[:tokens]
    return Prompt((head, tail) if tail else (head,), _RULER)


def _store(cache: PrefixCache, prompt: Prompt, at: float = 0.0, scope: int = 1) -> None:
    cache.write(cache.read(prompt, scope, at), at, at)


@pytest.mark.parametrize(
    ("vendor", "tokens", "cached"),
    [
        ("DeepSeek", 4213, 4096),
        ("DeepSeek", 255, 0),
        ("DeepSeek", 257, 256),
        ("OpenAIClassic", 1023, 0),
        ("OpenAIClassic", 1025, 1024),
        ("OpenAIClassic", 1300, 1280),
        ("OpenAI", 1023, 0),
        ("Moonshot", 255, 0),
        ("Moonshot", 800, 768),
        ("MiniMax", 511, 0),
        ("MiniMax", 600, 576),
        ("XAI", 300, 256),
        ("VLLM", 15, 0),
        ("VLLM", 33, 32),
        ("VLLM", 32, 16),  # the last token is always computed
    ],
)
def test_a_repeated_prompt_is_read_in_the_vendors_steps(vendor: str, tokens: int, cached: int) -> None:
    cache = PrefixCache(rules_for(vendor).cache)
    first = cache.read(_prompt(tokens), 1, 0.0)
    cache.write(first, 0.0, 0.1)
    assert first.cached == 0
    assert cache.read(_prompt(tokens), 1, 1.0).cached == cached


def test_a_published_measurement_can_be_repeated_exactly() -> None:
    """A 12,000-character head in a prompt of 4,213 tokens, sent twice to DeepSeek: 4,096 read the second time."""
    ruler = Ruler()
    head = {"role": "system", "content": "x" * 12_000}
    rest = 4213 - render({"messages": [head]}, ruler).tokens
    question = {"role": "user", "content": "y" * (ruler.chars(rest) - len("<user>"))}
    prompt = render({"messages": [head, question]}, ruler)
    cache = PrefixCache(rules_for("DeepSeek").cache)
    _store(cache, prompt)
    assert (prompt.tokens, cache.read(prompt, 1, 1.0).cached) == (4213, 4096)


@pytest.mark.parametrize(
    ("ttl", "refresh", "reads", "warm"),
    [
        (300.0, True, [299.0], True),
        (300.0, True, [300.0], False),
        (300.0, True, [299.0, 598.0, 897.0], True),
        (300.0, False, [299.0, 598.0], False),
        (None, False, [1e9], True),
    ],
)
def test_lifetime(ttl: float | None, refresh: bool, reads: list[float], warm: bool) -> None:
    cache = PrefixCache(CacheRules(block_tokens=10, ttl_seconds=ttl, refresh_on_hit=refresh))
    _store(cache, _prompt(100))
    found = [cache.read(_prompt(100), 1, at).cached for at in reads]
    assert (found[-1] > 0) is warm


@pytest.mark.parametrize(
    ("vendor", "body", "long", "warm_at", "cold_at"),
    [
        ("OpenAI", {}, False, 1799.0, 1800.0),
        ("OpenAI", {"prompt_cache_options": {"ttl": "30m"}}, False, 1799.0, 1800.0),
        ("OpenAI", {"prompt_cache_options": {"ttl": "12h"}}, True, 43199.0, 43200.0),
        ("OpenAI", {"prompt_cache_options": {"ttl": "a while"}}, False, 1799.0, 1800.0),
        ("OpenAIClassic", {"prompt_cache_retention": "24h"}, True, 86399.0, 86400.0),
        ("Moonshot", {"prompt_cache_options": {"ttl": "1h"}}, True, 3599.0, 3600.0),
        ("DeepSeek", {"prompt_cache_options": {"ttl": "24h"}}, False, 7199.0, 7200.0),
    ],
)
def test_a_request_asks_for_a_lifetime_where_the_vendor_has_several(
    vendor: str, body: dict[str, object], long: bool, warm_at: float, cold_at: float
) -> None:
    rules = rules_for(vendor).cache
    for at, warm in ((warm_at, True), (cold_at, False)):
        cache = PrefixCache(rules)
        reading = cache.read(_prompt(3000), 1, 0.0, ttl_s=rules.asked_ttl_s(body))
        cache.write(reading, 0.0, 0.1)
        assert reading.written_long == (reading.written if long else 0)
        assert (cache.read(_prompt(3000), 1, at).cached > 0) is warm


def test_what_is_there_keeps_the_lifetime_that_it_was_written_with() -> None:
    cache = PrefixCache(CacheRules(block_tokens=10))
    cache.write(cache.read(_prompt(100), 1, 0.0, ttl_s=7200.0), 0.0, 0.0)
    grown = cache.read(_prompt(100, "z" * 50), 1, 7000.0)
    cache.write(grown, 7000.0, 7000.0)
    assert (grown.cached, grown.written, grown.written_long) == (100, 50, 0)
    assert cache.read(_prompt(100, "z" * 50), 1, 7400.0).cached == 100


def test_lifetime_counts_from_the_start_of_the_request_that_wrote() -> None:
    cache = PrefixCache(CacheRules(block_tokens=10, ttl_seconds=300.0))
    cache.write(cache.read(_prompt(100), 1, 0.0), started=0.0, now=200.0)
    assert cache.read(_prompt(100), 1, 299.0).cached == 90


@pytest.mark.parametrize(
    ("after", "delay", "at", "cached"),
    [
        ("FirstByte", 0.0, 1.9, 0),
        ("FirstByte", 0.0, 2.0, 90),
        ("FirstByte", 5.0, 6.9, 0),
        ("FirstByte", 5.0, 7.0, 90),
        ("RequestStart", 0.0, 1.9, 90),
    ],
)
def test_an_entry_becomes_readable_when_the_rules_say(after: str, delay: float, at: float, cached: int) -> None:
    rules = {"blockTokens": 10, "minTokens": 0, "readableAfter": after, "readableDelaySeconds": delay}
    cache = PrefixCache(rules_for("Groq", rules).cache)
    cache.write(cache.read(_prompt(100), 1, 0.0), started=0.0, now=2.0)
    assert cache.read(_prompt(100), 1, at).cached == cached


def test_a_longer_prompt_reads_the_common_head_and_writes_the_rest() -> None:
    cache = PrefixCache(CacheRules(block_tokens=10))
    _store(cache, _prompt(100))
    grown = cache.read(_prompt(100, "z" * 55), 1, 1.0)
    assert (grown.cached, grown.written) == (100, 50)


def test_a_common_head_below_the_minimum_is_not_read() -> None:
    cache = PrefixCache(CacheRules(block_tokens=10, min_tokens=50))
    _store(cache, Prompt(("a" * 40, "b" * 60), _RULER))
    assert cache.read(Prompt(("a" * 40, "c" * 60), _RULER), 1, 1.0).cached == 0


def test_the_least_recently_used_prefix_leaves_first() -> None:
    cache = PrefixCache(CacheRules(block_tokens=10, max_blocks=20))
    old, used, new = (Prompt((letter * 100,), _RULER) for letter in "abc")
    for at, prompt in enumerate((old, used, old, new)):
        _store(cache, prompt, float(at))
    assert len(cache) == 20
    assert [cache.read(prompt, 1, 5.0).cached for prompt in (old, used, new)] == [90, 0, 90]


@pytest.mark.parametrize(
    ("vendor", "account", "body", "shared"),
    [
        ("DeepSeek", "key-1", {}, True),
        ("DeepSeek", "key-2", {}, False),
        ("DeepSeek", "key-1", {"user_id": "u"}, False),
        ("DeepSeek", "key-1", {"user": "u"}, True),
        ("OpenAI", "key-1", {"prompt_cache_key": "k"}, False),
        ("OpenAIClassic", "key-1", {"prompt_cache_key": "k"}, True),
        ("VLLM", "key-2", {}, True),
        ("VLLM", "key-1", {"cache_salt": "s"}, False),
    ],
)
def test_who_shares_a_cache(vendor: str, account: str, body: dict[str, object], shared: bool) -> None:
    cache = PrefixCache(rules_for(vendor).cache)
    _store(cache, _prompt(3000), scope=cache.scope("key-1", "m", {}))
    assert (cache.read(_prompt(3000), cache.scope(account, "m", body), 1.0).cached > 0) is shared
    assert cache.read(_prompt(3000), cache.scope(account, "other", body), 1.0).cached == 0


@given(tokens=st.integers(0, 500), block=st.integers(1, 40), factor=st.integers(1, 4), minimum=st.integers(0, 200))
def test_counts_always_fit_the_rules(tokens: int, block: int, factor: int, minimum: int) -> None:
    rules = CacheRules(block_tokens=block, interval_tokens=block * factor, min_tokens=minimum)
    cache = PrefixCache(rules)
    prompt = _prompt(tokens)
    _store(cache, prompt)
    again = cache.read(prompt, 1, 1.0)
    assert again.cached % rules.step_tokens == 0
    assert again.cached == 0 or minimum <= again.cached < tokens
    assert again.written == 0
