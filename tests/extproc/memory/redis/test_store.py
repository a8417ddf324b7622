"""What becomes of the Redis client's errors, and of its callers when a store is given up."""

import asyncio

import pytest
from redis import exceptions as errors

from limpet_extproc.memory.redis.errors import ErrorReason, RedisError
from limpet_extproc.memory.redis.store import ClientStore, redis_error


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


class Stubborn:
    """A client that makes an answer of being cancelled, or goes under."""

    def __init__(self, *, answers: bool) -> None:
        self.asked = asyncio.Event()
        self._answers = answers

    async def get(self, _: bytes) -> bytes:
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not self._answers:
                raise
        return b"answer"

    async def aclose(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize("answers", [True, False])
async def test_giving_up_a_store_ends_what_is_under_way_and_cancels_nobody(answers: bool) -> None:
    client = Stubborn(answers=answers)
    store = ClientStore(client)  # type: ignore[arg-type]  # has what a lookup uses
    left: list[object] = []

    async def caller() -> None:
        try:
            left.extend(await store.read([b"key"]))
        except RedisError as error:
            left.append(error.reason)
        left.append(asking.cancelling())

    asking = asyncio.create_task(caller())
    await client.asked.wait()
    await store.close()
    await asking
    assert left == [b"answer" if answers else "connection", 0]


async def test_who_is_cancelled_by_others_while_a_store_is_given_up_is_cancelled() -> None:
    client = Stubborn(answers=False)
    store = ClientStore(client)  # type: ignore[arg-type]
    asking = asyncio.create_task(store.read([b"key"]))
    await client.asked.wait()
    asking.cancel()
    await store.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
