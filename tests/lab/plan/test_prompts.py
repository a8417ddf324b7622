"""What of each prompt has been sent before, by sizes and times alone."""

from hypothesis import given
from hypothesis import strategies as st

from limpet_lab.plan.logged import LoggedRequest
from limpet_lab.plan.prompts import rows_of
from limpet_lab.replay.trace import BLOCK_TOKENS


def _shared(requests: list[LoggedRequest], one: int, other: int) -> int:
    rows = rows_of(requests)
    pairs = zip(rows[one].hash_ids, rows[other].hash_ids, strict=False)
    return next((place for place, (mine, theirs) in enumerate(pairs) if mine != theirs), len(rows[one].hash_ids))


def _turn(at_s: float, tokens: int, conversation: str = "c", system: int = 0) -> LoggedRequest:
    return LoggedRequest(at_s, tokens, 10, "m", conversation, system)


def test_a_longer_turn_goes_on_from_the_whole_prompt_before() -> None:
    assert _shared([_turn(0, 1600), _turn(1, 3000)], 0, 1) == 3


def test_a_shorter_turn_shares_no_more_than_the_system_prompt() -> None:
    assert _shared([_turn(0, 3000), _turn(1, 2000)], 0, 1) == 0
    assert _shared([_turn(0, 3000, system=1100), _turn(1, 2000, system=1100)], 0, 1) == 2


def test_conversations_share_equally_long_system_prompts_and_nothing_else() -> None:
    assert _shared([_turn(0, 3000, "c", 1100), _turn(1, 3000, "d", 1100)], 0, 1) == 2
    assert _shared([_turn(0, 3000, "c", 1100), _turn(1, 3000, "d", 1200)], 0, 1) == 0
    assert _shared([_turn(0, 3000, "", 600), _turn(1, 3000, "", 600)], 0, 1) == 1


def test_turns_of_no_known_conversation_share_nothing() -> None:
    assert _shared([_turn(0, 2000, ""), _turn(1, 3000, "")], 0, 1) == 0


@given(
    st.lists(
        st.tuples(st.integers(1, 5000), st.sampled_from(["", "a", "b"]), st.sampled_from([0, 400, 700, 6000])),
        max_size=20,
    )
)
def test_every_request_is_a_valid_row_of_a_trace(drawn: list[tuple[int, str, int]]) -> None:
    requests = [_turn(number, *each) for number, each in enumerate(drawn)]
    rows = rows_of(requests)
    assert [row.input_length for row in rows] == [request.prompt_tokens for request in requests]
    assert all(len(row.hash_ids) == -(-row.input_length // BLOCK_TOKENS) for row in rows)
    assert all(len(set(row.hash_ids)) == len(row.hash_ids) for row in rows)
