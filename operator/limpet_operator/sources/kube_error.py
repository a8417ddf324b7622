"""How requests to the Kubernetes API fail, whether they read or write."""


class ApiError(Exception):
    """The API server did not do what was asked. `status` is HTTP's; None: no answer, so a write may have been done."""

    def __init__(
        self, status: int | None, message: str, *, reason: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        """Kubernetes' own word, such as Conflict or AlreadyExists, where it gave one."""
        self.retry_after_s = retry_after_s

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status is None or self.status == 429 or self.status >= 500
