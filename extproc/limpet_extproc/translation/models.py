"""What models of Anthropic's differ in, by their names: the Messages API has no defaults for all of them.

Names as Anthropic, Bedrock (`anthropic.claude-…-v1:0`) and Google Cloud (`claude-…@date`) write them. Models of other
makers behind the same API are taken for the most cautious kind.
"""

import re
from typing import Final, Literal, NamedTuple

Thinking = Literal["none", "budget", "adaptive"]
"""How it is told to think: not at all, by a number of tokens, or by an effort."""


class ModelTraits(NamedTuple):
    """What a request has to heed."""

    default_tokens: int
    """`max_tokens`, which Anthropic demands, for clients that set no limit."""
    thinking: Thinking
    has_xhigh: bool = False
    """Whether it knows the effort between `high` and `max`."""
    may_not_think: bool = True
    """Whether thinking can be switched off."""
    sampling: bool = True
    """Whether it takes `temperature` and `top_p`."""
    both_sampling: bool = True
    """Whether it takes the two together."""


_CLAUDE: Final = re.compile(
    r"claude-(?:(?P<family>[a-z]+)-)?(?P<major>\d{1,3})(?:[-.](?P<minor>\d{1,2}))?(?!\d)(?:-(?P<late>[a-z]+))?"
)
_ALWAYS_THINK: Final = frozenset({"fable", "mythos"})
_OTHERS: Final = ModelTraits(8_192, "budget")


def traits_of(model: str) -> ModelTraits:
    """Those of a model, by the provider's name for it."""
    found = _CLAUDE.search(model)
    if found is None:
        return ModelTraits(32_000, "adaptive", True, False, False, False) if "claude-mythos" in model else _OTHERS
    version = int(found["major"]), int(found["minor"] or 0)
    if version < (3, 5):
        return ModelTraits(4_096, "none")
    if version < (3, 7):
        return ModelTraits(8_192, "none")
    both = version < (4, 1)
    if version < (4, 6):
        return ModelTraits(32_000, "budget", both_sampling=both)
    newer = version >= (4, 7)
    return ModelTraits(
        default_tokens=32_000,
        thinking="adaptive",
        has_xhigh=newer,
        may_not_think=found["family"] not in _ALWAYS_THINK,
        sampling=not newer,
        both_sampling=both,
    )
