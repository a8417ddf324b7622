"""The same answers as JSON, for programs: `Authorization: Bearer TOKEN`."""

from collections.abc import Callable
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from limpet_activity.store.objects import as_json
from limpet_activity.store.port import ActivityStore
from limpet_activity.web import answers
from limpet_activity.web.question import (
    FILTERS,
    LIMITS,
    QuestionError,
    cursor,
    filter_of,
    number_of,
    parameters,
    position_of,
)

MOST_TURNS: Final = 500
_NUMBERS: Final = range(2**53)


def as_answer(value: object, status: int = 200) -> Response:
    """A JSON response."""
    return Response(as_json(value), status, media_type="application/json")


def error_answer(status: int, code: str, message: str, **more: str) -> Response:
    """What went wrong, as JSON."""
    return as_answer({"error": {"code": code, "message": message, **more}}, status)


class ApiAnswers:
    """All under /api/."""

    def __init__(self, store: ActivityStore, now: Callable[[], float]) -> None:
        self._store: Final = store
        self._now: Final = now

    def routes(self) -> list[Route]:
        """Where they are."""
        return [
            Route("/api/activity", self._activity),
            Route("/api/records/{id:path}", self._record),
            Route("/api/conversations/{key:path}", self._conversation),
            Route("/api/overview", self._overview),
            Route("/api/providers", self._providers),
            Route("/api/state", self._state),
        ]

    async def _activity(self, request: Request) -> Response:
        given = parameters(request.query_params.multi_items(), (*FILTERS, "limit", "older", "newer", "after"))
        which, limit = filter_of(given, self._now()), number_of(given, "limit", 100, LIMITS)
        if "after" in given:
            after = number_of(given, "after", 0, _NUMBERS)
            records, last = await run_in_threadpool(self._store.taken_after, which, after, limit)
            return as_answer({"records": records, "last": last})
        older, newer = position_of(given, "older"), position_of(given, "newer")
        if older and newer:
            raise QuestionError("newer", given["newer"], "either this or `older`")
        page = await run_in_threadpool(self._store.page, which, older, limit, newer)
        return as_answer(
            {
                "records": page.records,
                "older": cursor(page.older) if page.older else None,
                "newer": cursor(page.newer) if page.newer else None,
            }
        )

    async def _record(self, request: Request) -> Response:
        record_id = request.path_params["id"]
        found = await run_in_threadpool(self._store.record, record_id)
        if found is None:
            return error_answer(404, "no_record", f"no record {record_id!r} is kept")
        return as_answer(found)

    async def _conversation(self, request: Request) -> Response:
        key = request.path_params["key"]
        turns = await run_in_threadpool(self._store.turns, key, MOST_TURNS)
        if not turns:
            return error_answer(404, "no_conversation", f"no record of a conversation {key!r} is kept")
        return as_answer({"conversation": key, "turns": turns})

    async def _overview(self, request: Request) -> Response:
        given = parameters(request.query_params.multi_items(), ("range", "provider", "model", "tenant"))
        which = filter_of(given, self._now())
        return as_answer(await run_in_threadpool(answers.overview, self._store, given, which, self._now()))

    async def _providers(self, request: Request) -> Response:
        given = parameters(request.query_params.multi_items(), ("range",))
        return as_answer(await run_in_threadpool(answers.providers, self._store, given, self._now()))

    async def _state(self, request: Request) -> Response:
        parameters(request.query_params.multi_items(), ())
        found, last = await run_in_threadpool(self._store.state), await run_in_threadpool(self._store.last_number)
        return as_answer({"state": found, "last": last})
