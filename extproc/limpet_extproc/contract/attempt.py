"""One attempt at a provider, as its answer was judged: the words that metrics, lines, conditions and Events share."""

from typing import Final, Literal, TypeAlias, get_args

import msgspec

AttemptOutcome: TypeAlias = Literal["ok", "failed", "limited", "refused", "client_left"]
"""`failed` and `limited` are the provider's affair; `refused` is the request's own fault."""

Cause: TypeAlias = Literal[
    "",
    "CredentialRefused",
    "NoCredit",
    "Forbidden",
    "ModelNotFound",
    "Limited",
    "TooLarge",
    "BadRequest",
    "ContentRefused",
    "UnusableStatus",
    "Redirected",
    "NotAnAnswer",
    "ErrorInAnswer",
    "ServerError",
    "Overloaded",
    "ConnectionFailed",
    "Unreachable",
    "Timeout",
    "BrokenOff",
]
"""Why an attempt was no success; empty for one that was, and where the client left."""

CAUSES: Final[frozenset[str]] = frozenset(get_args(Cause))

MAX_SAYS: Final = 200
"""Characters of a provider's own words that are kept."""


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One try of one request at one provider."""

    provider: str
    model: str
    """What the client asked for; empty where nobody had parsed the request."""
    status: int
    """As the provider said it; 0 where no answer came."""
    outcome: AttemptOutcome
    cause: Cause = ""
    says: str = ""
    """The provider's own words, at most MAX_SAYS characters of one line, anything that looks like a key blanked."""
