"""Templates, and what they may call."""

from collections.abc import Iterable, Mapping
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from limpet_activity.store.facts import has_failed
from limpet_activity.web import numbers
from limpet_activity.web.charts import stacked_bar, turn_block
from limpet_activity.web.colours import NO_COLOUR, colours
from limpet_activity.web.conversation_view import cached_share
from limpet_activity.web.course import in_words
from limpet_activity.web.own_address import in_path
from limpet_activity.web.provider_view import verdict_css
from limpet_activity.web.readable import as_it_is, shown
from limpet_activity.web.record_view import outcome
from limpet_activity.web.sentences import CACHE_CAUSES, REASONS

_FILTERS: Final = {
    "ago": numbers.ago,
    "clock": numbers.clock,
    "count": numbers.count,
    "date_and_time": numbers.date_and_time,
    "iso": numbers.iso,
    "price": numbers.price,
    "seconds": numbers.seconds,
    "short": numbers.short,
    "size": numbers.size,
    "usd": numbers.usd,
    "in_words": in_words,
    "in_path": in_path,
    "as_it_is": as_it_is,
}
_CALLED: Final = {
    "bar": stacked_bar,
    "cached_share": cached_share,
    "has_failed": has_failed,
    "outcome": outcome,
    "share": numbers.share,
    "turn_block": turn_block,
    "verdict_css": verdict_css,
    "reason_texts": REASONS,
    "cause_texts": CACHE_CAUSES,
    "dash": numbers.NOTHING,
}


class Drawing:
    """Draws templates of this package; all values are escaped."""

    def __init__(self) -> None:
        self._templates: Final = Environment(
            loader=PackageLoader("limpet_activity.web"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=shown,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(_FILTERS)
        self._templates.globals.update(_CALLED)

    def page(self, template: str, status: int = 200, **values: object) -> Response:
        """A response."""
        return HTMLResponse(self._templates.get_template(template).render(values), status)

    def colours(self, known: Iterable[str], others: Iterable[str]) -> Mapping[str, str]:
        """By provider; of anything else it is NO_COLOUR."""
        return _Colours(colours(known, others))


class _Colours(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return NO_COLOUR
