"""How many tokens a model's prompts have for each that is estimated."""

import pytest

from limpet_extproc.decision.token_rate import after_prompt


@pytest.mark.parametrize(
    ("rate", "estimated", "counted", "after"),
    [
        (None, 8_000, 6_000, 0.75),
        (0.75, 8_000, 6_000, 0.75),
        (0.75, 8_000, 14_000, 0.85),  # the newest of about ten
        (None, 999, 700, None),  # mostly what a provider puts around it
        (0.75, 999, 700, 0.75),
        (0.75, 0, 700, 0.75),
        (0.75, 8_000, 0, 0.75),  # nobody told
        (0.75, 8_000, 90_000, 0.75),  # images
    ],
)
def test_the_last_prompts_of_some_length_count(
    rate: float | None, estimated: int, counted: int, after: float | None
) -> None:
    assert after_prompt(rate, estimated, counted) == (None if after is None else pytest.approx(after))
