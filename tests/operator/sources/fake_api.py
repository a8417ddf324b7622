"""A Kubernetes API in memory for readers; the test sets its answers."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from limpet_operator.sources.kube_error import ApiError

Answer = dict[str, Any] | ApiError


class FakeApi:
    """`get` answers from `answers` by path, `watch` from the queues in `watches`; every request is recorded."""

    def __init__(self, **answers: Answer) -> None:
        self.answers: dict[str, Answer] = dict(answers)
        self.asked: list[tuple[str, Mapping[str, str]]] = []
        self.watches: list[tuple[str, Mapping[str, str], asyncio.Queue[Any]]] = []

    async def get(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
        decode: Callable[[bytes], Any] = json.loads,
    ) -> Any:
        self.asked.append((path, dict(query or {})))
        await asyncio.sleep(0)
        answer = self.answers.get(path, ApiError(404, f"there is nothing at {path}"))
        if isinstance(answer, ApiError):
            raise answer
        return decode(json.dumps(answer).encode())

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Any]:
        """Events from the newest queue of `watches`; None ends it in good order, an ApiError breaks it off."""
        events: asyncio.Queue[Any] = asyncio.Queue()
        self.watches.append((path, dict(query), events))
        while (event := await events.get()) is not None:
            if isinstance(event, ApiError):
                raise event
            yield event
