"""Token usage as Envoy's Lua notes it."""

from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.envoy import USAGE_TOKENS
from limpet_extproc.envoy.usage import MAX_TOKENS, TokenUsage, read


def noted(**numbers: Any) -> bytes:
    """What the Lua of a cluster found in an answer."""
    struct = Struct()
    struct.update({USAGE_TOKENS: numbers})
    return struct.SerializeToString()


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({}, None),
        ({"output": 5}, None),
        ({"prompt": 900}, TokenUsage(900, None, 0)),
        ({"prompt": 900, "output": 3, "cached": 512}, TokenUsage(900, 512, 3)),
        ({"prompt": 900, "cached": 0, "written": 0, "reasoning": 0}, TokenUsage(900, 0, 0, 0, None, 0)),
        (
            {"prompt": 900, "output": 9, "cached": 512, "written": 64, "written_long": 24, "reasoning": 5},
            TokenUsage(900, 512, 9, 64, 24, 5),
        ),
        (
            {"prompt": 5, "cached": 9, "written": 8, "written_long": 7, "output": 1, "reasoning": 2},
            TokenUsage(5, 5, 1, 5, 5, 1),
        ),
        ({"prompt": 2.0**64}, TokenUsage(MAX_TOKENS, None, 0)),
        ({"prompt": "many", "cached": None}, None),
    ],
)
def test_unreported_is_not_zero_and_nothing_is_more_than_it_can_be(
    numbers: dict[str, Any], expected: TokenUsage | None
) -> None:
    assert read(noted(**numbers)) == expected


@given(
    st.dictionaries(
        st.sampled_from(["prompt", "cached", "output", "written", "written_long", "reasoning"]),
        st.floats() | st.text(max_size=3) | st.booleans(),
    )
)
def test_whatever_a_provider_counts_the_sums_stay_true(numbers: dict[str, Any]) -> None:
    usage = read(noted(**numbers))
    if usage is not None:
        assert 0 <= (usage.cached or 0) <= usage.prompt <= MAX_TOKENS
        assert 0 <= (usage.written_long or 0) <= (usage.written or 0) <= usage.prompt
        assert 0 <= (usage.reasoning or 0) <= usage.output <= MAX_TOKENS
