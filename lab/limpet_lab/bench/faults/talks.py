"""The conversations of the load: what each says in each of its turns depends on the seed alone."""

from random import Random
from typing import Final

from openai.types.chat import ChatCompletionMessageParam

_WORDS: Final = (
    *("tide", "harbour", "granite", "kelp", "lantern", "anchor", "ledger", "copper", "winter", "signal", "meadow"),
    *("barrel", "saddle", "timber", "compass", "violet", "ferry", "orchard", "kettle", "marble", "ribbon", "walnut"),
)
_INSTRUCTIONS_CHARS: Final = 4_500
"""About 1,550 tokens of the simulated sellers: above the 1,024 that several vendors ask for before they cache."""


class Talk:
    """One conversation up to now."""

    def __init__(self, number: int, seed: str, *, streams: bool) -> None:
        """`seed` names this conversation among all of all runs."""
        self.number = number
        self.streams = streams
        self.turns = 0
        random = Random(seed)  # noqa: S311 - it makes prompts and keeps no secret
        words = [f"Assistant {random.getrandbits(64):016x}:"]
        length = 0
        while length < _INSTRUCTIONS_CHARS:
            words.append(random.choice(_WORDS))
            length += len(words[-1]) + 1
        self._messages: list[ChatCompletionMessageParam] = [{"role": "system", "content": " ".join(words)}]

    def question(self) -> list[ChatCompletionMessageParam]:
        """All messages of the next turn."""
        return [*self._messages, {"role": "user", "content": f"Question {self.turns + 1}: what comes next?"}]

    def answered(self, text: str) -> None:
        """The turn is done; one that failed is asked again."""
        self._messages = [*self.question(), {"role": "assistant", "content": text}]
        self.turns += 1
