"""The Redis client's errors in our terms."""

import pytest
from redis import exceptions as errors

from limpet_extproc.memory.redis.errors import ErrorReason
from limpet_extproc.memory.redis.store import redis_error


@pytest.mark.parametrize(
    ("error", "reason", "says"),
    [
        (errors.AuthenticationError("invalid username-password pair"), "auth", "invalid username-password pair"),
        (errors.ResponseError("NOAUTH Authentication required."), "auth", "NOAUTH"),
        (errors.NoPermissionError("this user has no permissions to run the 'get' command"), "auth", "'get'"),
        (errors.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "full", "maxmemory"),
        (errors.ReadOnlyError("You can't write against a read only replica."), "readonly", "read only"),
        (errors.BusyLoadingError("Redis is loading the dataset in memory"), "connection", "loading"),
        (TimeoutError(), "timeout", "in time"),
        (OSError("no route to host"), "connection", "no route"),
        (ValueError(), "error", "ValueError"),
    ],
)
def test_an_error_is_called_by_what_it_means(error: Exception, reason: ErrorReason, says: str) -> None:
    found = redis_error(error)
    assert found.reason == reason
    assert says in str(found)


@pytest.mark.parametrize(
    "error",
    [
        "unknown command 'AUTH', with args beginning with: 'limpet' 'opensesame' ",
        "unknown command 'HELLO', with args beginning with: '2' 'AUTH' 'limpet' 'opensesame' ",
        "Error running it script: opensesame",
        "first line\nopensesame",
        "x" * 200 + "opensesame",
    ],
)
def test_no_error_repeats_what_was_sent(error: str) -> None:
    assert "opensesame" not in str(redis_error(errors.ResponseError(error)))
