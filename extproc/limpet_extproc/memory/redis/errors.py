"""What can go wrong with a shared memory, by name: counted each time, logged when it changes."""

import logging
from typing import Final, Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

_log = logging.getLogger(__name__)

ErrorReason = Literal["timeout", "connection", "auth", "readonly", "full", "version", "queue_full", "away", "error"]
"""Closed, the values of a metric's label; docs/memory.md says what each means."""

Operation = Literal["lookup", "write"]

_MEANING: Final[dict[ErrorReason, str]] = {
    "timeout": "it did not answer in time",
    "connection": "no connection",
    "auth": "it does not let us in: user, password or rights are wrong",
    "readonly": "it is a replica that takes no writes",
    "full": "its memory is full: give it more, or set maxmemory-policy volatile-ttl",
    "version": "values were written by another version of Limpet, and are passed over",
    "queue_full": "writes come faster than it takes them",
    "away": "it is away",
    "error": "it answered with an error",
}


class RedisError(Exception):
    """Redis could not be read or written; `detail` is for a log and names neither keys nor values."""

    def __init__(self, reason: ErrorReason, detail: str = "") -> None:
        super().__init__(f"{_MEANING[reason]} ({detail})" if detail else _MEANING[reason])
        self.reason: Final[ErrorReason] = reason


class MemoryLog:
    """Counts every error, and logs when lookups or writes start or stop working."""

    def __init__(self, where: str, registry: CollectorRegistry) -> None:
        self._where = where
        failures = Counter(
            "limpet_memory_failures",
            "Lookups and writes of the shared memory that did without it, by why.",
            ["operation", "reason"],
            registry=registry,
        )
        self._count = {
            (operation, reason): failures.labels(operation, reason).inc
            for operation in get_args(Operation)
            for reason in get_args(ErrorReason)
        }
        self._up = Gauge("limpet_memory_up", "1 while the shared memory is asked.", registry=registry)
        self._writable = Gauge("limpet_memory_writable", "1 while the shared memory takes writes.", registry=registry)
        self.unwritten = Gauge(
            "limpet_memory_unwritten", "Changes not yet written to the shared memory.", registry=registry
        )
        self._is_up: bool | None = None
        self._write_error: ErrorReason | None = None
        self._logged_version = False

    def count(self, operation: Operation, reason: ErrorReason, times: int = 1) -> None:
        """Count lookups or writes that did without the memory."""
        self._count[operation, reason](times)
        if reason == "version" and not self._logged_version:
            self._logged_version = True
            _log.warning("memory %s: %s", self._where, _MEANING[reason])

    def away(self, error: RedisError) -> None:
        """From now on requests are routed without the memory."""
        self._up.set(0)
        self._writable.set(0)
        self._write_error = None
        if self._is_up is not False:
            self._is_up = False
            _log.warning("memory %s is away, requests are routed without it: %s", self._where, error)

    def back(self) -> None:
        """The memory is in use again."""
        self._up.set(1)
        self._writable.set(1)
        if self._is_up is not True:
            self._is_up = True
            _log.info("memory %s is connected", self._where)

    def written(self, error: RedisError | None) -> None:
        """How the last writes went."""
        reason = error.reason if error else None
        self._writable.set(0 if error else 1)
        if reason == self._write_error:
            return
        self._write_error = reason
        if error:
            _log.warning("memory %s takes no writes, lookups go on: %s", self._where, error)
        else:
            _log.info("memory %s takes writes again", self._where)
