"""What is known of the beginning of a conversation changes nothing but the work that its next turn takes."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.conftest import MODEL, Make
from tests.extproc.request.gateway import Gateway
from xxhash import xxh3_128

from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.dialects.port import ParsedRequest
from limpet_extproc.request.beginnings import LEAST_BYTES, Beginnings
from limpet_extproc.request.identity import Identified, Owner, beginning_seed
from limpet_extproc.request.prefix import chain_of
from limpet_extproc.request.settings_hash import settings_of

OWNER, SEED = b"owner", b"seed"
WHOSE = Identified((None, "m", "fingerprint", b""), b"key", Owner("owner", b"secret"), b"seed", "owner")
LONG = "It was a dark and stormy night. " * 150


def body(contents: Sequence[str], **fields: Any) -> bytes:
    """Of a conversation in turns; the first one is the user's."""
    said = [{"role": ("user", "assistant")[at % 2], "content": each} for at, each in enumerate(contents)]
    return json.dumps({"messages": said, "model": "m", **fields}).encode()


def take(known: Beginnings, text: bytes, owner: bytes = OWNER, seed: bytes = SEED) -> bool:
    """Take a turn, and check what is found against what is reckoned from the whole; whether it was known."""
    whole = OpenAIChat().parse(text)
    turn = known.turn(text, owner)
    request: ParsedRequest | None = None if turn is None else turn.request
    assert request in (None, whole)
    assert whole.layout is not None
    if turn is not None and (found := known.hashed(turn, request or whole, seed, WHOSE)) is not None:
        assert found == (chain_of(text, whole.layout, seed, attached=False), settings_of(text, whole.layout, seed))
    return request is not None


def test_the_next_turns_of_a_conversation_are_known() -> None:
    known, said = Beginnings(), [LONG]
    assert not take(known, body(said))
    for turn in range(40):
        said += [f"answer {turn}" * 20, f"question {turn}" * 10]
        assert take(known, body(said))
    assert take(known, body(said)), "sent again"
    assert len(known) == 1


@pytest.mark.parametrize(
    "other",
    [
        body(["X" + LONG[1:], "b", "c"]),
        body([LONG, "B", "c", "d", "e"]),
        body([LONG, "b", "c", "d", "e"], temperature=1),
        body([LONG]),
    ],
    ids=["other first message", "edited", "other settings", "shorter"],
)
def test_another_conversation_is_not_taken_for_it(other: bytes) -> None:
    known = Beginnings()
    take(known, body([LONG, "b", "c"]))
    assert not take(known, other)


def test_what_one_owner_sent_is_not_known_of_another() -> None:
    known, text = Beginnings(), body([LONG, "b", "c"])
    take(known, text)
    assert not take(known, text, b"another")
    assert take(known, text, OWNER, b"seed of another model"), "it is read from its beginning, and hashed anew"


def test_no_collision_of_hashes_makes_one_tenants_conversation_anothers() -> None:
    ann, bob = (beginning_seed(b"secret", tenant, "OpenAIChat", ()) for tenant in (b"\nann", b"\nbob"))
    known, text = Beginnings(begin=lambda _owner: xxh3_128()), body([LONG, "b", "c"])
    take(known, text, ann)
    turn, own = known.turn(text, bob), known.turn(text, ann)
    assert turn is not None
    assert (turn.identified, turn.request) == (None, None)
    assert own is not None
    assert own.identified == WHOSE
    assert not take(known, text, bob)
    assert take(known, text, bob)
    assert take(known, text, ann)


def test_conversations_that_share_their_beginning_are_told_apart() -> None:
    known = Beginnings()
    turns = [[LONG + str(number), "b", "c"] for number in range(4)]
    for said in turns:
        take(known, body(said))
    assert [take(known, body([*said, "d", "e"])) for said in turns] == [True] * 4
    assert len(known) == 4


def test_the_longest_unused_are_dropped() -> None:
    known = Beginnings(most=3)
    texts = [body([f"{number} {LONG}", "b", "c"]) for number in range(5)]
    for text in texts:
        take(known, text)
    assert len(known) == 3
    assert [take(known, text) for text in texts[2:]] == [True] * 3
    assert not take(known, texts[0])


def test_a_short_body_is_not_kept() -> None:
    known, text = Beginnings(), body(["a" * (LEAST_BYTES // 2)])
    take(known, text)
    assert not take(known, text)
    assert len(known) == 0


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 60), st.sampled_from(["a", LONG[:2000], "é"]), st.booleans()),
        min_size=2,
        max_size=12,
    )
)
def test_whatever_comes_after_what_it_is_as_if_nothing_had_been_known(turns: list[tuple[int, int, str, bool]]) -> None:
    known = Beginnings(most=2)
    for who, length, text, streamed in turns:
        said = [f"{who} {LONG}", *([text] * (length - 1))]
        take(known, body(said, stream=streamed), owner=bytes([who]))


@pytest.mark.parametrize("user", [None, "ann"])
async def test_whose_a_turn_is_does_not_depend_on_whether_the_one_before_is_known(make: Make, user: str | None) -> None:
    knowing, said = Gateway(make.snapshot(make.provider("a", dialects=("OpenAIChat",)))), [LONG]
    fields: dict[str, Any] = {} if user is None else {"user": user}
    for turn in range(3):
        said += [f"answer {turn}", f"question {turn}"]
        for headers in (
            {},
            {"authorization": "Bearer ann"},
            {"authorization": "Bearer bob"},
            {"authorization": "Bearer bob", "x-session-id": f"session {turn}"},
            {"x-api-key": "ann"},
        ):
            text = body(said, model=MODEL, **fields)
            fresh = Gateway(make.snapshot(make.provider("a", dialects=("OpenAIChat",))))
            one = (await knowing.route("/v1/chat/completions", text, **headers)).record
            other = (await fresh.route("/v1/chat/completions", text, **headers)).record
            assert (one.key, one.tenant, one.identified_by, one.chain, one.settings) == (
                other.key,
                other.tenant,
                other.identified_by,
                other.chain,
                other.settings,
            )
