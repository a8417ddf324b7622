"""Conversations that a gateway of `limpet bench growth` remembers, as many as are asked for, in its Redis.

The first few are played through the gateway itself. What its worker has remembered of them, Redis then copies to the
keys that the load's further sessions have.
"""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from limpet_extproc.memory.redis.layout import redis_key
from limpet_extproc.memory.redis.redis_memory import RedisMemory
from limpet_extproc.request import identity
from limpet_lab.bench.latency import NotMeasuredError
from limpet_lab.bench.latency_load import CLIENT_KEY, CONVERSATIONS, MODEL
from limpet_lab.bench.latency_targets import ask

_SESSION_HEADER: Final = "x-session-id"
_CREDENTIAL: Final = f"Bearer {CLIENT_KEY}"
_CHUNK: Final = 2_000
_COPIED: Final = b":1\r\n"
"""What Redis answers."""
_TRIALS: Final = 10
_LEARNT_S: Final = 3.0
"""From an answer until it is remembered, at most."""


def key_of(secret: bytes, session: int) -> bytes:
    """Under which a gateway with this secret remembers the conversation of the load's session."""
    owner = identity.tenant({"authorization": _CREDENTIAL})
    return identity.key(secret, owner, None, MODEL, _SESSION_HEADER, str(session).encode())


async def fill(url: str, redis_port: int, shared: RedisMemory, secret: bytes, bodies: Path, conversations: int) -> None:
    """Have the gateway at `url` remember the sessions 1 to `conversations`; the bodies are sent in turn.

    `shared` is its memory, in the Redis at this port. Raises NotMeasuredError if it does not remember what was played.
    """
    played = min(CONVERSATIONS, conversations)
    keys = {session: key_of(secret, session) for session in range(1, played + 1)}
    await _play(url, shared, keys, bodies)
    reader, writer = await asyncio.open_connection("127.0.0.1", redis_port)
    try:
        for begin in range(played + 1, conversations + 1, _CHUNK):
            sessions = range(begin, min(begin + _CHUNK, conversations + 1))
            pairs = [
                (redis_key(keys[(session - 1) % played + 1]), redis_key(key_of(secret, session)))
                for session in sessions
            ]
            writer.write(b"".join(_command(b"COPY", *pair) for pair in pairs))
            answers = await reader.readexactly(len(_COPIED) * len(pairs))
            if answers != _COPIED * len(pairs):
                raise NotMeasuredError(
                    f"Redis has not copied all conversations: {answers[:80].decode(errors='replace')}"
                )
    finally:
        writer.close()


def _command(*words: bytes) -> bytes:
    """As Redis takes it."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


async def _play(url: str, shared: RedisMemory, keys: Mapping[int, bytes], bodies: Path) -> None:
    """Send the first turn of each session until all are remembered: on a busy machine some pass without the memory."""
    missing = keys
    for _number in range(_TRIALS):
        for session in missing:
            turn = bodies.joinpath(f"{session - 1}.json").read_bytes()
            status, _ = await asyncio.to_thread(ask, url, turn, authorization=_CREDENTIAL, x_session_id=str(session))
            if status != 200:
                raise NotMeasuredError(f"conversation {session} was answered with {status}")
        missing = await _unlearnt(shared, missing)
        if not missing:
            return
    raise NotMeasuredError(f"{len(missing)} conversations were served {_TRIALS} times, and are not remembered")


async def _unlearnt(shared: RedisMemory, keys: Mapping[int, bytes]) -> Mapping[int, bytes]:
    """Those that are not remembered in time."""
    left, deadline_s = keys, time.monotonic() + _LEARNT_S
    while left and time.monotonic() < deadline_s:
        await asyncio.sleep(0.02)
        found = {session: await shared.lookup(key, time.time()) for session, key in left.items()}
        left = {session: left[session] for session, each in found.items() if each is None or not each.warm}
    return left
