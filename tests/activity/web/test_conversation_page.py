"""A conversation turn by turn: where it went, why, and where it is warm."""

from tests.activity.store.answers import T0, one
from tests.activity.web.people import signed_in
from tests.activity.web.texts import text_of, with_records

from limpet_extproc.contract.activity import (
    ConsideredProvider,
    TriedProvider,
)


def test_a_conversation_turn_by_turn() -> None:
    text = text_of(signed_in(), "/conversations/c0ffee01")
    assert "3 turns" in text
    assert "1 switch " in text
    assert "turn 3 alpha → beta" in text
    assert "It went to alpha again, but alpha failed with 500 (server error), so beta answered." in text
    assert "No cache is known to keep it." in text


def test_a_turn_that_failed_over_did_not_stay() -> None:
    tried = (TriedProvider("alpha", "failed", 503, "ServerError"), TriedProvider("beta", "ok", 200))
    kept = one(1, 0, conversation="c0", provider="alpha", reason="first.scored")
    moved = one(2, 1, conversation="c0", provider="beta", reason="sticky.hit", attempts=tried)
    client = signed_in(with_records(kept, moved))
    told = " cache. But alpha failed with 503 (server error), so beta answered. sticky.hit"
    assert told in text_of(client, "/activity/r2")
    assert "It went to alpha again, but alpha failed with 503 (server error)" in text_of(client, "/conversations/c0")


def test_where_a_conversation_is_warm() -> None:
    store = with_records(
        *(
            one(
                number,
                number,
                conversation="c0",
                provider=provider,
                prompt_tokens=1000 * number,
                considered=(ConsideredProvider(provider, "", 0, 0.1, T0 + until_s),),
            )
            for number, provider, until_s in ((1, "alpha", 300.0), (2, "beta", 900.0), (3, "alpha", 1200.0))
        )
    )
    text = text_of(signed_in(store), "/conversations/c0")
    assert "alpha 3,000 tokens until 00:20:00 (in 10 min) beta 2,000 tokens until 00:15:00 (in 5 min)" in text
