"""How many first turns were held for the one that brings their beginning to a cache, and for how long."""

from typing import Final, Literal, TypeAlias, get_args

from prometheus_client import CollectorRegistry, Histogram

HeldEnd: TypeAlias = Literal["warm", "gave_up", "gone", "client_left"]
"""What they waited for has come to a cache; has not within `holdFirst`; has failed; or their client has left."""

_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)


class HoldMetrics:
    """The histogram about holding. Few requests are held, and each for a poll at least, so it is not noted first."""

    def __init__(self, registry: CollectorRegistry) -> None:
        held = Histogram(
            "limpet_held_seconds",
            "Seconds that first turns were held for one that brings their beginning to a cache, by how it ended.",
            ["end"],
            registry=registry,
            buckets=_SECONDS,
        )
        self._observe = {end: held.labels(end).observe for end in get_args(HeldEnd)}

    def add(self, end: HeldEnd, seconds: float) -> None:
        """One was held."""
        self._observe[end](seconds)
