"""Charts as SVG. They are stretched to the width that there is, so all text stands beside them, in HTML."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from markupsafe import Markup

HEIGHT: Final = 100.0
"""Of a chart, in its own units; its width is one unit a step."""


_RECT: Final = Markup('<rect class="{}" x="{:.3f}" y="{:.2f}" width="{:.3f}" height="{:.2f}"/>')
_SPAN: Final = Markup('<rect class="{}" data-tip="{}" x="{:.3f}" y="0" width="{:.3f}" height="10"/>')
_GRID_LINE: Final = Markup('<line class="grid" x1="0" x2="{}" y1="{}" y2="{}"/>')
_PLOT: Final = Markup(
    '<svg class="plot" viewBox="0 0 {} 100" preserveAspectRatio="none" aria-hidden="true" focusable="false">{}</svg>'
)
_BAR: Final = Markup(
    '<svg class="{}" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
    '<rect class="rest" x="0" y="0" width="100" height="10"/>{}</svg>'
)
_TURN: Final = Markup(
    '<svg class="turn {}" viewBox="0 0 12 40" aria-hidden="true" focusable="false">'
    '<rect class="ground" x="0" y="0" width="12" height="40"/>{}{}</svg>'
)


# Of what an axis can end with: beyond, there is no rounding.
_LEAST: Final = 1e-300
_MOST: Final = 1e300


class ChartLine(msgspec.Struct, frozen=True):
    """One line of a chart."""

    name: str
    css: str
    values: Sequence[float | None]
    """None: not known, and the line has a gap."""
    filled: bool = False


class Chart(msgspec.Struct, frozen=True):
    """A chart and what stands beside it."""

    svg: Markup
    top: float
    """What the upper edge means."""
    bottom: float = 0.0
    """What the lower edge means."""


def nice_top(most: float) -> float:
    """The next of a few round numbers of its magnitude, which is what the axis ends with."""
    if not _LEAST < most < _MOST:
        return 1.0
    magnitude = 10.0 ** math.floor(math.log10(most))
    return next(step * magnitude for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * magnitude >= most * 0.999)


def lines(drawn: Sequence[ChartLine], tips: Sequence[str], top: float | None = None) -> Chart:
    """Lines over the same steps; a tip is what a step says when it is pointed at."""
    known = [value for line in drawn for value in line.values if value is not None]
    if top is None:
        top = nice_top(_most(known))
    least = _most(-value for value in known)
    bottom = -nice_top(least) if least > 0 else 0.0
    width = max(1, len(tips))
    parts = [_grid(width)]
    if bottom:
        parts.append(_GRID_LINE.format(width, _y(0.0, top, bottom), _y(0.0, top, bottom)))
    for line in drawn:
        for run in _runs(line.values):
            points = [(index + 0.5, _y(value, top, bottom)) for index, value in run]
            if len(points) == 1:
                points = [(points[0][0] - 0.5, points[0][1]), (points[0][0] + 0.5, points[0][1])]
            path = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
            if line.filled:
                ends = f"{points[-1][0]:.2f},{HEIGHT} {points[0][0]:.2f},{HEIGHT}"
                parts.append(Markup('<polygon class="area {}" points="{} {}"/>').format(line.css, path, ends))
            parts.append(Markup('<polyline class="line {}" points="{}"/>').format(line.css, path))
    return Chart(_plot(width, parts, tips), top, bottom)


def columns(values: Sequence[float], parts_of: Sequence[float], tips: Sequence[str]) -> Chart:
    """A column a step, and its part (those that failed) at its foot."""
    top = nice_top(_most(values))
    width = max(1, len(tips))
    parts = [_grid(width)]
    for index, (value, part) in enumerate(zip(values, parts_of, strict=True)):
        for css, height in (("column", value), ("column part", part)):
            if height > 0:
                y = _y(height, top)
                parts.append(_RECT.format(css, index + 0.12, y, 0.76, HEIGHT - y))
    return Chart(_plot(width, parts, tips), top)


def stacked_columns(layers: Sequence[tuple[str, Sequence[float]]], tips: Sequence[str]) -> Chart:
    """A column a step, of layers one above the other, each with its class."""
    width = max(1, len(tips))
    heights = [0.0] * width
    stacked = []
    for css, values in layers:
        below = list(heights)
        for index, value in enumerate(values):
            heights[index] += value if 0 < value < _MOST else 0.0
        stacked.append((css, below, list(heights)))
    top = nice_top(_most(heights))
    parts = [_grid(width)]
    for css, below, above in stacked:
        # One path for all of a layer's columns: a rectangle each would make long pages.
        path = "".join(
            f"M{index + 0.12:.2f} {_y(above[index], top):.2f}h.76V{_y(below[index], top):.2f}h-.76z"
            for index in range(width)
            if above[index] > below[index]
        )
        if path:
            parts.append(Markup('<path class="column {}" d="{}"/>').format(css, path))
    return Chart(_plot(width, parts, tips), top)


def stacked_bar(parts: Sequence[tuple[str, float]], whole: float | None = None) -> Markup:
    """A horizontal bar of parts, each with its class."""
    parts = [(css, size if math.isfinite(size) else 0.0) for css, size in parts]
    total = sum(max(0.0, size) for _, size in parts)
    whole = max(total, whole or 0.0)
    drawn, x = [], 0.0
    for css, part in parts:
        width = 100 * (max(0.0, part) / whole) if whole else 0.0
        if width > 0:
            drawn.append(_RECT.format(css, x, 0.0, width, 10.0))
        x += width
    return _BAR.format("bar", Markup("").join(drawn))


def spans(drawn: Sequence[tuple[str, float, float, str]], since: float, until: float) -> Markup:
    """A horizontal bar of what held from when to when, each span with its class and what it says when pointed at."""
    length = until - since
    parts = []
    for css, began, ended, tip in drawn:
        begin, end = max(began, since), min(ended, until)
        if not (length > 0 and end > begin):
            continue
        # An outage of a minute in a month is still to be seen.
        x, width = 100 * (begin - since) / length, max(0.4, 100 * (end - begin) / length)
        parts.append(_SPAN.format(css, tip, min(x, 99.6), width))
    return _BAR.format("bar spans", Markup("").join(parts))


def turn_block(cached: float | None, css: str, failed: bool) -> Markup:
    """A turn of a conversation: in its provider's colour, filled from below by what was read from the cache."""
    height = 40 * min(max(0.0, cached or 0.0), 1.0)
    filled = _RECT.format("fill", 0.0, 40 - height, 12.0, height) if height else ""
    cross = Markup('<path class="cross" d="M3 3l6 6M9 3l-6 6"/>') if failed else ""
    return _TURN.format(css, filled, cross)


def _y(value: float, top: float, bottom: float = 0.0) -> float:
    value = value if math.isfinite(value) else 0.0
    return HEIGHT * (top - min(max(value, bottom), top)) / (top - bottom)


def _most(values: Iterable[float]) -> float:
    return max((value for value in values if value < _MOST), default=0.0)


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    runs: list[list[tuple[int, float]]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((index, value))
    return [run for run in runs if run]


def _grid(width: int) -> Markup:
    return Markup("").join(_GRID_LINE.format(width, y, y) for y in (0, 50, 100))


def _plot(width: int, parts: Sequence[Markup], tips: Sequence[str]) -> Markup:
    hit = Markup('<rect class="hit" data-tip="{}" x="{}" y="0" width="1" height="100"/>')
    hits = [hit.format(tip, index) for index, tip in enumerate(tips)]
    return _PLOT.format(width, Markup("").join([*parts, *hits]))
