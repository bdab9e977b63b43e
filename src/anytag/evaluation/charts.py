"""Small SVG charts, drawn here so that a report is one file without dependencies."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Name, x and y of a curve.
Line = tuple[str, ArrayLike, ArrayLike]

#: Colors that most people can distinguish, dark enough on white (Okabe and Ito, 2008).
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

_WIDTH, _HEIGHT = 450, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 116, 12, 40
_INNER_WIDTH, _INNER_HEIGHT = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

#: Place in [0, 1] and label of each.
_Ticks = Sequence[tuple[float, str]]
_FIFTHS = [(t / 5, f"{t / 5:.1f}") for t in range(6)]


def _frame(x_title: str, y_title: str, parts: Sequence[str], x_ticks: _Ticks, y_ticks: _Ticks) -> str:
    """Draw axes and labels around parts that are given in pixels."""
    lines = []
    for at, label in y_ticks:
        y = _TOP + _INNER_HEIGHT * (1 - at)
        lines.append(f'<line x1="{_LEFT}" x2="{_LEFT + _INNER_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        lines.append(_text(_LEFT - 6, y + 4, label, "end"))
    floor = _TOP + _INNER_HEIGHT
    axis = f'<line x1="{_LEFT}" x2="{_LEFT + _INNER_WIDTH}" y1="{floor}" y2="{floor}" stroke="#444"/>'
    labels = [_text(_LEFT + _INNER_WIDTH * at, floor + 14, label) for at, label in x_ticks]
    middle = _TOP + _INNER_HEIGHT / 2
    titles = (
        _text(_LEFT + _INNER_WIDTH / 2, _HEIGHT - 4, x_title)
        + f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">'
        + f"{html.escape(y_title)}</text>"
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="11">{"".join([*lines, axis, *parts, *labels, titles])}</svg>'
    )


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _polyline(x: NDArray[np.float64], y: NDArray[np.float64], number: int) -> str:
    """Draw a curve in the unit square; a single point is drawn as one."""
    px, py = _LEFT + _INNER_WIDTH * x, _TOP + _INNER_HEIGHT * (1 - y)
    color = _COLORS[number % len(_COLORS)]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(px, py, strict=True))
    point = f'<circle cx="{px[0]:.1f}" cy="{py[0]:.1f}" r="2.5" fill="{color}"/>' if len(px) == 1 else ""
    return f'{point}<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8"/>'


def _legend(names: Sequence[str]) -> str:
    rows = []
    for number, name in enumerate(names):
        y = _TOP + 14 + 15 * number
        color = _COLORS[number % len(_COLORS)]
        rows.append(f'<rect x="{_WIDTH - 110}" y="{y - 9}" width="10" height="10" fill="{color}"/>')
        rows.append(f'<text x="{_WIDTH - 96}" y="{y}">{html.escape(name[:17])}</text>')
    return "".join(rows)


def _polylines(lines: Sequence[Line]) -> list[str]:
    """Draw curves, thinned to at most 200 points each."""
    drawn = []
    for number, (_, x, y) in enumerate(lines):
        xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
        kept = np.unique(np.linspace(0, len(xs) - 1, min(len(xs), 200)).astype(np.int64))
        xs, ys = xs[kept], ys[kept]
        drawn.append(_polyline(xs, ys, number))
    return drawn


def line_chart(lines: Sequence[Line], x_title: str, y_title: str) -> str:
    """Draw curves over [0, 1] by [0, 1]."""
    parts = [*_polylines(lines), _legend([name for name, _, _ in lines])]
    return _frame(x_title, y_title, parts, _FIFTHS, _FIFTHS)


def measured_chart(lines: Sequence[Line], x_title: str, y_title: str) -> str:
    """Draw curves over their own range, with the y title above the chart.

    Values that are not finite are left out; there must be others.
    """
    finite = []
    for name, x, y in lines:
        xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
        kept = np.isfinite(xs) & np.isfinite(ys)
        finite.append((name, xs[kept], ys[kept]))
    x_ticks = _round_ticks(np.concatenate([xs for _, xs, _ in finite]))
    y_ticks = _round_ticks(np.concatenate([ys for _, _, ys in finite]))

    def scaled(values: NDArray[np.float64], ticks: Sequence[float]) -> NDArray[np.float64]:
        return (values - ticks[0]) / (ticks[-1] - ticks[0])

    def labeled(ticks: list[float]) -> _Ticks:
        return [(float(at), f"{tick:.4g}") for at, tick in zip(scaled(np.array(ticks), ticks), ticks, strict=True)]

    parts = _polylines([(name, scaled(xs, x_ticks), scaled(ys, y_ticks)) for name, xs, ys in finite])
    if len(finite) > 1:
        parts.append(_legend([name for name, _, _ in finite]))
    # Above the chart: long numbers leave no room beside it.
    parts.append(f'<text x="{_LEFT}" y="8" font-weight="bold">{html.escape(y_title)}</text>')
    return _frame(x_title, "", parts, labeled(x_ticks), labeled(y_ticks))


def chart_grid(charts: Sequence[str]) -> str:
    """Place charts in rows of three in one SVG file."""
    columns = 3
    rows = -(-len(charts) // columns)
    width, height = _WIDTH * min(columns, len(charts)), _HEIGHT * rows
    placed = [
        f'<g transform="translate({_WIDTH * (place % columns)} {_HEIGHT * (place // columns)})">{chart}</g>'
        for place, chart in enumerate(charts)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{"".join(placed)}</svg>\n'
    )


def _round_ticks(values: NDArray[np.float64]) -> list[float]:
    """Return four to seven round numbers that enclose the values."""
    low, high = float(values.min()), float(values.max())
    if high <= low:
        low, high = low - abs(low or 1.0) / 2, high + abs(high or 1.0) / 2
    rough = (high - low) / 4
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * times for times in (1, 2, 2.5, 5, 10) if power * times >= rough)
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return [float(step * number) for number in range(int(first), int(last) + 1)]


def bar_chart(groups: Sequence[str], series: Sequence[tuple[str, Sequence[float]]], y_title: str) -> str:
    """Draw values in [0, 1] as bars, with a group of bars for each name below the axis.

    Args:
        series: Name and a value for each group.
        y_title: Beside the axis.
    """
    parts, width = [], 0.8 / len(groups) / max(1, len(series))
    for place in range(len(groups)):
        for number, (_, values) in enumerate(series):
            x = _LEFT + _INNER_WIDTH * ((place + 0.1) / len(groups) + number * width)
            height = _INNER_HEIGHT * max(0.0, min(1.0, values[place]))
            parts.append(
                f'<rect x="{x:.1f}" y="{_TOP + _INNER_HEIGHT - height:.1f}" width="{width * _INNER_WIDTH:.1f}" '
                f'height="{height:.1f}" fill="{_COLORS[number % len(_COLORS)]}"/>'
            )
    parts.append(_legend([name for name, _ in series]))
    return _frame("", y_title, parts, [((p + 0.5) / len(groups), name) for p, name in enumerate(groups)], _FIFTHS)


def histogram(scores: ArrayLike, truth: ArrayLike) -> str:
    """Draw the distributions of the scores of true and of untrue pairs, as shares on a square-root scale."""
    values, true = np.asarray(scores, np.float64).ravel(), np.asarray(truth, np.bool_).ravel()
    low, high, bins = float(values.min()), float(values.max()), 30
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    parts = []
    for number, kept in enumerate((true, ~true)):
        shares = np.histogram(values[kept], edges)[0] / max(1, int(kept.sum()))
        steps = np.repeat(np.linspace(0, 1, bins + 1), 2)[1:-1]
        parts.append(_polyline(steps, np.sqrt(np.repeat(shares, 2)), number))
    parts.append(_legend(["true", "untrue"]))
    x_ticks = [(at, f"{edges[0] + at * (edges[-1] - edges[0]):.2f}") for at in (0.0, 0.5, 1.0)]
    y_ticks = [(share**0.5, f"{share:g}") for share in (0.0, 0.01, 0.05, 0.2, 0.5, 1.0)]
    return _frame("score", "share of pairs", parts, x_ticks, y_ticks)
