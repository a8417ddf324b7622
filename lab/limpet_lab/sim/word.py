"""The one line that a seller's process sends its parent: that it listens, or why it can't."""

import msgspec


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The seller listens."""

    port: int


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The seller could not start, and why."""

    problem: str
