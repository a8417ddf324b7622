"""A clock in the test's hands."""


class HandClock:
    """Shows `now_s` until the test sets another time."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s
