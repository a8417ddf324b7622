"""One attempt at a provider and its outcome, in words that metrics, log lines, conditions and Events share."""

from typing import Final, Literal, TypeAlias, get_args

import msgspec

AttemptOutcome: TypeAlias = Literal["ok", "failed", "limited", "refused", "client_left"]
"""`failed` and `limited` are the provider's fault, `refused` is the request's."""

Cause: TypeAlias = Literal[
    "",
    "CredentialRefused",
    "NoCredit",
    "Forbidden",
    "ModelNotFound",
    "PathNotFound",
    "NotFound",
    "Limited",
    "TooLarge",
    "BadRequest",
    "ContentRefused",
    "Untranslated",
    "UnusableStatus",
    "Redirected",
    "NotAnAnswer",
    "ErrorInAnswer",
    "ServerError",
    "Overloaded",
    "ConnectionFailed",
    "ConnectionRefused",
    "NameNotResolved",
    "TLSFailed",
    "Unreachable",
    "Timeout",
    "BrokenOff",
    "ErrorRate",
    "SlowFirstByte",
    "SlowStream",
]
"""Why an attempt did not succeed, or a provider is in trouble; empty if it did, or if the client left.

`ErrorRate`, `SlowFirstByte` and `SlowStream` belong to no single attempt. `NotFound` is a 404 about what the request
names, such as a conversation; `PathNotFound` one about where we sent it."""

CAUSES: Final[frozenset[str]] = frozenset(get_args(Cause))

OF_THE_PROVIDER: Final[frozenset[Cause]] = frozenset(
    {
        "CredentialRefused",
        "NoCredit",
        "Forbidden",
        "ConnectionFailed",
        "ConnectionRefused",
        "NameNotResolved",
        "TLSFailed",
        "Unreachable",
        "Redirected",
    }
)
"""Causes that concern all models of a provider: its address, our key and our account. Any other concerns one model."""

OF_ONE_API: Final[frozenset[Cause]] = frozenset({"PathNotFound"})
"""Causes that concern one API of a provider and none of its models, which others may serve well. They are reported and
held against nothing."""

NOT_REACHED: Final[frozenset[Cause]] = frozenset(
    {"ConnectionFailed", "ConnectionRefused", "NameNotResolved", "TLSFailed", "Unreachable"}
)
"""Causes that any HTTP answer of the provider refutes, whatever it says."""

PERHAPS_OF_THE_REQUEST: Final[frozenset[Cause]] = frozenset(
    {
        "Forbidden",
        "ModelNotFound",
        "UnusableStatus",
        "NotAnAnswer",
        "ErrorInAnswer",
        "ServerError",
        "ConnectionFailed",
        "Timeout",
        "BrokenOff",
    }
)
"""Causes that one odd request may bring about at a provider that is well, such as a prompt that crashes a server. So
only failures of several conversations show that the provider is not."""

SETTLED_BY_PEOPLE: Final[frozenset[Cause]] = frozenset(
    {"CredentialRefused", "NoCredit", "Forbidden", "ModelNotFound", "PathNotFound", "Redirected"}
)
"""Causes that stay until a key, an account, a name or a URL is changed. They are reported the first time, and count
even while other requests succeed."""

MAX_MESSAGE_CHARS: Final = 200
"""Characters of a provider's own message that are kept."""


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """One sending of one request to one provider."""

    provider: str
    model: str
    """As the client named it; empty if no worker has read the request."""
    status: int
    """The provider's HTTP status; 0 if no answer came."""
    outcome: AttemptOutcome
    cause: Cause = ""
    message: str = ""
    """The provider's own: one line of at most MAX_MESSAGE_CHARS characters, anything that looks like a key blanked."""
