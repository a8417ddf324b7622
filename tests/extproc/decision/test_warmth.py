"""How many tokens each provider's cache should have of a prompt, from the conversation's own places and from heads."""

from hashlib import blake2b

import pytest
from msgspec.structs import replace
from tests.extproc.conftest import Make

from limpet_extproc.contract.catalog import CacheFields
from limpet_extproc.decision.prefix import HASH_BYTES, Chain, PromptHead
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.warmth import Warmth, warmth_of
from limpet_extproc.memory import ConversationPace, Remembered, Warm
from limpet_extproc.memory.heads import NO_HEADS, WarmHead

NOW = 1000.0
LONG = NOW + 60


def chain(parts: str, *, per_part: int = 1000) -> Chain:
    """Each letter is a part: the tools, the system prompt, a message. They are all as long."""
    hashes = [blake2b(parts[: end + 1].encode(), digest_size=HASH_BYTES).digest() for end in range(len(parts))]
    tokens = [per_part * (number + 1) for number in range(len(parts))]
    heads = tuple(PromptHead(each, count, marked=each == hashes[1]) for each, count in zip(hashes, tokens, strict=True))
    return Chain(b"".join(hashes), tuple(tokens), heads[:4])


def query(make: Make, parts: str = "tsabc", **fields: object) -> Query:
    providers = [make.provider(name, min_tokens=least) for name, least in (("a", 0), ("b", 0), ("picky", 2500))]
    marked = make.provider("marked", cache_fields=CacheFields({"OpenAIChat": "Blocks"}, only_marked=True))
    lane = make.lane(*providers, marked, make.provider("none", caches=False))
    found = chain(parts)
    return Query(lane, b"key", found.tokens[-1], 400, chain=found, **fields)  # type: ignore[arg-type]


def before(provider: str, parts: str, tokens: int, until_s: float = LONG) -> Warm:
    return Warm(provider, until_s, tokens, 0, chain(parts).hashes)


def of(make: Make, *warm: Warm, parts: str = "tsabc") -> Warmth:
    return warmth_of(query(make, parts), Remembered(warm), NO_HEADS, NOW)


def test_all_that_the_last_turn_had_is_warm_where_it_was(make: Make) -> None:
    found = of(make, before("a", "tsa", 2000))
    assert (found.tokens, found.changed_at) == ({"a": 2000}, "")
    assert found.prompt_tokens == 3333, "3,000 by bytes were counted as 2,000, so 5,000 are as many"


@pytest.mark.parametrize(
    ("earlier", "shared", "changed_at"),
    [
        ("tsXY", 2000, "message 1"),
        ("tXab", 1000, "system"),
        ("Xsab", 0, "tools"),
        ("tsab", 3000, ""),
        ("tsabX", 4000, "message 3"),
    ],
)
def test_of_an_edited_history_what_comes_before_the_change_is_warm(
    make: Make, earlier: str, shared: int, changed_at: str
) -> None:
    found = of(make, before("a", earlier, 1000 * len(earlier) if changed_at else 3000))
    assert found.tokens == ({"a": shared} if shared else {})
    assert found.changed_at == changed_at
    if changed_at:
        assert found.prompt_tokens == 5000, "as estimated"


def test_a_last_message_that_is_another_one_may_only_have_grown(make: Make) -> None:
    assert of(make, before("a", "tsabX", 4500)).grown_tokens == 4500
    assert of(make, before("a", "tsaXb", 4500)).grown_tokens == 0
    assert of(make, before("a", "tsab", 4000)).grown_tokens == 0
    assert of(make, before("a", "tsabX", 4500, NOW)).grown_tokens == 0


@pytest.mark.parametrize(("earlier", "shared"), [("tsab", 2000), ("tsaX", 2000), ("tXab", 1000)])
def test_where_not_all_was_marked_only_that_is_warm(make: Make, earlier: str, shared: int) -> None:
    assert of(make, replace(before("a", earlier, 4000), cached_tokens=2000)).tokens == {"a": shared}


def test_each_place_has_what_it_saw_last(make: Make) -> None:
    found = of(make, before("a", "tsab", 4000), before("b", "tsa", 3000), before("none", "tsa", 3000))
    assert found.tokens == {"a": 4000, "b": 3000}


def test_a_shorter_prompt_than_the_last_one_is_warm_as_a_whole(make: Make) -> None:
    found = of(make, before("a", "tsabc", 5000), parts="tsa")
    assert (found.tokens, found.prompt_tokens, found.changed_at) == ({"a": 3000}, 3000, "")


def test_nothing_is_warm_after_its_time_nor_where_the_prompt_is_too_short_or_unmarked(make: Make) -> None:
    assert of(make, before("a", "ts", 2000, NOW)).tokens == {}
    assert of(make, before("picky", "ts", 2000), parts="ts").tokens == {}
    assert of(make, before("marked", "tsa", 3000)).tokens == {}
    assert of(make, before("gone", "tsa", 3000)).tokens == {}


def test_without_chains_the_whole_last_prompt_counts_as_warm(make: Make) -> None:
    found = of(make, Warm("a", LONG, 6000))
    assert (found.tokens, found.prompt_tokens) == ({"a": 6000}, 6000)


HEADS = [each.hash for each in chain("tsabc").heads]


def of_heads(make: Make, *heads: tuple[int, WarmHead], remembered: Remembered | None = None) -> Warmth:
    """`heads`: the number of a head, and where it is warm."""
    known = {HEADS[at]: tuple(head for number, head in heads if number == at) for at, _ in heads}
    return warmth_of(query(make), remembered, known, NOW)


def test_a_new_conversation_finds_the_longest_head_that_is_warm(make: Make) -> None:
    found = of_heads(make, (0, WarmHead("a", LONG)), (1, WarmHead("a", LONG)), (0, WarmHead("b", LONG)))
    assert (found.tokens, found.coming, found.prompt_tokens) == ({"a": 2000, "b": 1000}, (), 0)


def test_a_head_has_to_be_alive_long_enough_and_marked_where_only_that_is_kept(make: Make) -> None:
    assert of_heads(make, (1, WarmHead("a", NOW))).tokens == {}
    assert of_heads(make, (1, WarmHead("picky", LONG))).tokens == {}
    assert of_heads(make, (2, WarmHead("picky", LONG))).tokens == {"picky": 3000}
    assert of_heads(make, (1, WarmHead("gone", LONG)), (1, WarmHead("none", LONG))).tokens == {}
    unmarked = of_heads(make, (1, WarmHead("marked", LONG)), (2, WarmHead("marked", LONG)))
    assert unmarked.tokens == {}, "the request itself is not marked"


def test_of_a_marked_request_the_head_up_to_the_mark_is_kept(make: Make) -> None:
    marked = query(make, marked=True)
    heads = {HEADS[1]: (WarmHead("marked", LONG),), HEADS[2]: (WarmHead("marked", LONG),)}
    assert warmth_of(marked, None, heads, NOW).tokens == {"marked": 2000}


def test_a_head_on_its_way_counts_and_is_named(make: Make) -> None:
    on_its_way = WarmHead("a", LONG, pending_s=NOW - 1)
    found = of_heads(make, (1, on_its_way), (0, WarmHead("b", LONG)))
    assert (found.tokens, found.coming) == ({"a": 2000, "b": 1000}, ("a",))
    there = of_heads(make, (1, on_its_way), (0, WarmHead("a", LONG)))
    assert (there.tokens, there.coming) == ({"a": 1000}, ()), "a part of it is there already"


def test_the_longer_of_what_the_conversation_and_others_left_counts(make: Make) -> None:
    remembered = Remembered((before("a", "tsa", 3000),))
    found = of_heads(make, (1, WarmHead("a", LONG)), (1, WarmHead("b", LONG)), remembered=remembered)
    assert found.tokens == {"a": 3000, "b": 2000}


def test_of_a_conversation_that_is_warm_others_keep_what_its_first_turn_read(make: Make) -> None:
    began_warm = ConversationPace(turns=3, head_tokens=2000)
    assert (
        warmth_of(query(make), Remembered((before("a", "tsa", 3000),), pace=began_warm), NO_HEADS, NOW).head_tokens
        == 2000
    )
    edited = Remembered((before("a", "tXab", 4000),), pace=began_warm)
    assert warmth_of(query(make), edited, NO_HEADS, NOW).head_tokens == 1000, "no more of it is left"
    over = Remembered((before("a", "tsa", 3000, NOW),), pace=began_warm)
    assert warmth_of(query(make), over, NO_HEADS, NOW).head_tokens == 0
