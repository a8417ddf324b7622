"""The pages themselves: which address draws which template with what."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Final
from urllib.parse import quote, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from limpet_activity.store.port import ActivityStore, Page
from limpet_activity.web import answers
from limpet_activity.web.by_provider_view import by_provider_view
from limpet_activity.web.conversation_view import conversation_view
from limpet_activity.web.drawing import Drawing
from limpet_activity.web.overview_view import overview_view
from limpet_activity.web.own_address import own_address
from limpet_activity.web.provider_view import provider_views
from limpet_activity.web.question import (
    CAUSES,
    FILTERS,
    LIMITS,
    REASON_BEGINNINGS,
    REASONS,
    QuestionError,
    cursor,
    filter_of,
    number_of,
    parameters,
    position_of,
)
from limpet_activity.web.record_view import record_view
from limpet_activity.web.settings import PageSettings
from limpet_extproc.contract.activity import ActivityRecord

ROWS: Final = 50
"""On a page of records, unless the address says how many."""

_NUMBERS: Final = range(2**53)

TURNS: Final = 200
"""Of a conversation, on its page."""
_MOST_SUGGESTED: Final = 200


class PageDrawer:
    """Draws pages."""

    def __init__(self, store: ActivityStore, settings: PageSettings, now: Callable[[], float]) -> None:
        self._store: Final = store
        self._settings: Final = settings
        self._now: Final = now
        self._drawing: Final = Drawing()

    def routes(self) -> list[BaseRoute]:
        """All pages."""
        return [
            Route("/", self._overview),
            Route("/activity", self._activity),
            Route("/activity/rows", self._rows),
            # Whatever an id is made of: a slash in it comes here as one.
            Route("/activity/{id:path}", self._record),
            Route("/conversations/{key:path}", self._conversation),
            Route("/providers", self._providers),
            Mount("/static", StaticFiles(packages=[("limpet_activity.web", "static")])),
        ]

    def sign_in(self, status: int, message: str, goal: str) -> Response:
        """The form. `goal`: the address that was asked for."""
        return self._drawing.page("sign_in.html", status, message=message, goal=goal)

    def trouble(self, request: Request, status: int, title: str, text: str) -> Response:
        """What went wrong."""
        return self._drawing.page(
            "trouble.html", status, title=title, text=text, back=own_address(request), user=self._user(request)
        )

    def bad_question(self, request: Request, error: QuestionError) -> Response:
        """Which parameter of the address means nothing, and what would."""
        return self._drawing.page(
            "bad_question.html", 400, error=error, back=request.url.path, user=self._user(request)
        )

    def _user(self, request: Request) -> str:
        header = self._settings.trusted_user_header
        return request.headers.get(header, "") if header else ""

    async def _draw(self, request: Request, template: str, names: Iterable[str] = (), **values: object) -> Response:
        seen = await run_in_threadpool(self._store.providers)
        known = sorted({each.report.provider for each in seen})
        models = sorted({price.model for each in seen for price in each.report.prices})
        return self._drawing.page(
            template,
            200,
            colours=self._drawing.colours(known, names),
            known_providers=known[:_MOST_SUGGESTED],
            known_gateways=sorted({each.gateway for each in seen})[:_MOST_SUGGESTED],
            known_models=models[:_MOST_SUGGESTED],
            now=self._now(),
            user=self._user(request),
            **values,
        )

    async def _overview(self, request: Request) -> Response:
        given = parameters(request.query_params.multi_items(), ("range", "provider", "model", "tenant"))
        which = filter_of(given, self._now())
        asked = await run_in_threadpool(answers.overview, self._store, given, which, self._now())
        state = await run_in_threadpool(self._store.state)
        view = overview_view(asked)
        narrowed = {name: value for name, value in given.items() if name != "range"}
        return await self._draw(
            request,
            "overview.html",
            {group.value for group in asked.providers} | {step.value for step in asked.provider_steps},
            view=view,
            by_provider=partial(by_provider_view, asked),
            state=state,
            narrowed=narrowed,
            range=asked.range,
            link=lambda **more: address("/", {**given, **more}),
            records=lambda **more: address("/activity", {**narrowed, "since": asked.range, **more}),
        )

    async def _activity(self, request: Request) -> Response:
        query = request.query_params.multi_items()
        given = parameters(query, (*FILTERS, "limit", "older", "newer"))
        if len(given) < len(query):
            # A form sends its empty fields too; an address that is shared should not have them.
            return RedirectResponse(address("/activity", given), 303)
        which, limit = filter_of(given, self._now()), number_of(given, "limit", ROWS, LIMITS)
        older, newer = position_of(given, "older"), position_of(given, "newer")
        if older and newer:
            raise QuestionError("newer", given["newer"], "either this or `older`")

        def ask() -> tuple[int, Page]:
            # The number first: what comes in between is then told twice, and shown once, by its id.
            return self._store.last_number(), self._store.page(which, older, limit, newer)

        last, page = await run_in_threadpool(ask)
        filters = {name: value for name, value in given.items() if name in FILTERS}
        steady = {**filters, **({"limit": given["limit"]} if "limit" in given else {})}
        newest = older is None and page.newer is None
        return await self._draw(
            request,
            "activity.html",
            providers_of(page.records),
            records=page.records,
            filters=filters,
            last=last,
            limit=limit,
            follows=newest and "until" not in filters,
            rows_at=address("/activity/rows", filters),
            older_at=address("/activity", {**steady, "older": cursor(page.older)}) if page.older else "",
            newer_at=address("/activity", {**steady, "newer": cursor(page.newer)}) if page.newer else "",
            newest_at="" if newest else address("/activity", steady),
            without=lambda name: address("/activity", {key: value for key, value in steady.items() if key != name}),
            reasons=REASONS,
            beginnings=REASON_BEGINNINGS,
            causes=CAUSES,
        )

    async def _rows(self, request: Request) -> Response:
        """What came in after a number, as rows of the table: the page follows with it."""
        given = parameters(request.query_params.multi_items(), (*FILTERS, "after"))
        which, after = filter_of(given, self._now()), number_of(given, "after", 0, _NUMBERS)
        records, last = await run_in_threadpool(self._store.taken_after, which, after, ROWS)
        return await self._draw(request, "rows.html", providers_of(records), records=list(reversed(records)), last=last)

    async def _record(self, request: Request) -> Response:
        parameters(request.query_params.multi_items(), ())
        record_id = request.path_params["id"]
        record = await run_in_threadpool(self._store.record, record_id)
        if record is None:
            text = f"No record {record_id!r} is kept. Records are deleted after a while."
            return self.trouble(request, 404, "No such record", text)
        return await self._draw(request, "record.html", providers_of([record]), view=record_view(record))

    async def _conversation(self, request: Request) -> Response:
        parameters(request.query_params.multi_items(), ())
        key = request.path_params["key"]
        turns = await run_in_threadpool(self._store.turns, key, TURNS)
        if not turns:
            text = f"No record of a conversation {key!r} is kept. Records are deleted after a while."
            return self.trouble(request, 404, "No such conversation", text)
        return await self._draw(
            request, "conversation.html", providers_of(turns), key=key, view=conversation_view(turns), most=TURNS
        )

    async def _providers(self, request: Request) -> Response:
        given = parameters(request.query_params.multi_items(), ("range",))
        answer = await run_in_threadpool(answers.providers, self._store, given, self._now())
        views = provider_views(answer, self._now())
        return await self._draw(
            request,
            "providers.html",
            views=views,
            answer=answer,
            range=answer.range,
            link=lambda **more: address("/providers", {**given, **more}),
        )


def address(path: str, query: Mapping[str, str]) -> str:
    """With its query, whose characters that need no escape stay readable."""
    return f"{path}?{urlencode(query, safe=':~/', quote_via=quote)}" if query else path


def providers_of(records: Iterable[ActivityRecord]) -> list[str]:
    """All that these name."""
    names = {record.provider for record in records}
    names |= {tried.provider for record in records for tried in record.attempts}
    return sorted(names | {each.provider for record in records for each in record.considered})
