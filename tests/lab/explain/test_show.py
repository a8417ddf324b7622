"""An explanation in sentences."""

from typing import Any

import pytest

from limpet_extproc.contract.explanation import (
    ExplainedCandidate,
    ExplainedIdentity,
    ExplainedKeeping,
    ExplainedMemory,
    ExplainedPlace,
    ExplainedPrompt,
    ExplainedSending,
    Explanation,
)
from limpet_extproc.contract.reasons import DecisionReason, words
from limpet_lab.explain.show import WHY, shown


def text_of(**fields: Any) -> str:
    return "\n".join(part for part in shown(Explanation("sticky.hit", "OpenAIChat", **fields)) if isinstance(part, str))


def test_every_reason_is_said_in_words() -> None:
    assert WHY.keys() == set(words(DecisionReason))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"order": ("a", "b")}, "It would go to a: the conversation is warm there"),
        (
            {"enforce_reason": "sticky.expired", "enforce_provider": "b"},
            "Enforce would have sent it to b: the conversation was warm",
        ),
        ({"identity": ExplainedIdentity("k", "fingerprint", unrecognised=True)}, "seems to change from turn to turn"),
        ({"prompt": ExplainedPrompt(9, 1, 3, changed_at="message 2")}, "departs from the last turn at message 2"),
        ({"prompt": ExplainedPrompt(9, 1, 3, compared=True)}, "begins with all of the last turn"),
        (
            {
                "identity": ExplainedIdentity("k"),
                "memory": ExplainedMemory(
                    (ExplainedPlace("a", 60.0, 900), ExplainedPlace("b", 5.0, over=True)), failed=("c",), turns=3
                ),
            },
            "a until 00:01:00 UTC, 900 tokens; b no more since 00:00:05 UTC, 0 tokens; failed lately: c; 3 turns",
        ),
        ({"identity": ExplainedIdentity("k"), "memory": ExplainedMemory((), turns=1)}, "1 turn so far"),
        ({"prompt": ExplainedPrompt(9, 1_400)}, "about 9 tokens; an answer of 1,400 is expected"),
        ({"margin": 0.05, "candidates": (ExplainedCandidate("a"),)}, "moves only where it is at least 5% cheaper"),
        ({"sending": ExplainedSending(2, hold_s=1.5, save_cache_s=4)}, "wait up to 1.5 s for another request"),
        ({"keeping": ExplainedKeeping(why_not="mode_off")}, "Nothing would be remembered: the policy's mode is Off."),
        ({"left_out": "edits"}, "left out      edits"),
    ],
)
def test_what_is_known_is_said(fields: dict[str, Any], says: str) -> None:
    assert says in text_of(**fields)
