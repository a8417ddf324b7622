"""Failures of providers, by the clock: a record of what happened, so that all rule sets meet the same."""

from typing import Annotated, Literal

import msgspec
import yaml
from xxhash import xxh3_64_intdigest

Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


class RecordedTrouble(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """A time in which a provider did not answer some of its requests."""

    provider: str
    from_minute: float
    """Since the first request."""
    to_minute: float
    answer: Literal[429, 500, 503]
    share: Share = 1.0
    """Of its requests."""

    def meets(self, number: int, minute: float) -> bool:
        """Whether it meets this request of the trace, which comes so many minutes after the first one.

        Which requests of a share these are depends on nothing but their numbers.
        """
        if not self.from_minute <= minute < self.to_minute:
            return False
        return self.share == 1.0 or xxh3_64_intdigest(f"{self.provider} {number}".encode()) / 2**64 < self.share


def read_troubles(text: str) -> tuple[RecordedTrouble, ...]:
    """The record in a YAML list. Raises msgspec.ValidationError."""
    return msgspec.convert(tuple(yaml.safe_load(text)), tuple[RecordedTrouble, ...])
