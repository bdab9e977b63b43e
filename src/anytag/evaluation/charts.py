"""Small charts as SVG, drawn here: a report is one file that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Colors that are told apart by most people, dark enough on white (Okabe and Ito, 2008).
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

_WIDTH, _HEIGHT = 450, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 116, 12, 40


def _frame(x_title: str, y_title: str, inside: str, y_ticks: Sequence[tuple[float, str]]) -> str:
    """Axes from 0 to 1 with an inside drawn in pixels."""
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    lines = []
    for at, label in y_ticks:
        y = _TOP + height * (1 - at)
        lines.append(f'<line x1="{_LEFT}" x2="{_LEFT + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        lines.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{html.escape(label)}</text>')
    axis = f'<line x1="{_LEFT}" x2="{_LEFT + width}" y1="{_TOP + height}" y2="{_TOP + height}" stroke="#444"/>'
    titles = (
        f'<text x="{_LEFT + width / 2}" y="{_HEIGHT - 4}" text-anchor="middle">{html.escape(x_title)}</text>'
        f'<text x="12" y="{_TOP + height / 2}" text-anchor="middle" '
        f'transform="rotate(-90 12 {_TOP + height / 2})">{html.escape(y_title)}</text>'
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="11">{"".join(lines)}{axis}{inside}{titles}</svg>'
    )


def _place(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    return _LEFT + width * np.asarray(x, np.float64), _TOP + height * (1 - np.asarray(y, np.float64))


def _legend(names: Sequence[str]) -> str:
    rows = []
    for number, name in enumerate(names):
        y = _TOP + 14 + 15 * number
        color = COLORS[number % len(COLORS)]
        rows.append(f'<rect x="{_WIDTH - 110}" y="{y - 9}" width="10" height="10" fill="{color}"/>')
        rows.append(f'<text x="{_WIDTH - 96}" y="{y}">{html.escape(name[:17])}</text>')
    return "".join(rows)


def line_chart(lines: Sequence[tuple[str, ArrayLike, ArrayLike]], x_title: str, y_title: str, points: int = 200) -> str:
    """Curves over [0, 1] by [0, 1].

    Args:
        lines: Name, x and y of each.
        x_title: Below the axis.
        y_title: Beside the axis.
        points: A longer curve is thinned to so many points.
    """
    ticks = [(t / 5, f"{t / 5:.1f}") for t in range(6)]
    inside = _polylines(lines, points) + _x_ticks(ticks) + [_legend([name for name, _, _ in lines])]
    return _frame(x_title, y_title, "".join(inside), ticks)


def measured_chart(
    lines: Sequence[tuple[str, ArrayLike, ArrayLike]], x_title: str, y_title: str, points: int = 200
) -> str:
    """Curves over whatever they range over; values that are not numbers are left out.

    Args:
        lines: Name, x and y of each; at least one value in all.
        x_title: Below the axis.
        y_title: Above the chart.
        points: A longer curve is thinned to so many points.
    """
    shown = []
    for name, x, y in lines:
        xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
        finite = np.isfinite(xs) & np.isfinite(ys)
        shown.append((name, xs[finite], ys[finite]))
    x_ticks = _round_ticks(np.concatenate([xs for _, xs, _ in shown]))
    y_ticks = _round_ticks(np.concatenate([ys for _, _, ys in shown]))

    def scaled(values: NDArray[np.float64], ticks: Sequence[float]) -> NDArray[np.float64]:
        return (values - ticks[0]) / (ticks[-1] - ticks[0])

    inside = _polylines([(name, scaled(xs, x_ticks), scaled(ys, y_ticks)) for name, xs, ys in shown], points)
    places = [
        [(float(place), f"{tick:.4g}") for place, tick in zip(scaled(np.array(ticks), ticks), ticks, strict=True)]
        for ticks in (x_ticks, y_ticks)
    ]
    inside += _x_ticks(places[0])
    if len(shown) > 1:
        inside.append(_legend([name for name, _, _ in shown]))
    # Above the chart: long numbers leave no room beside it.
    inside.append(f'<text x="{_LEFT}" y="8" font-weight="bold">{html.escape(y_title)}</text>')
    return _frame(x_title, "", "".join(inside), places[1])


def chart_grid(charts: Sequence[str], columns: int = 3) -> str:
    """Charts side by side, as one SVG file."""
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
    """Four to seven round numbers, the first at or below the least value, the last at or above the greatest."""
    low, high = float(values.min()), float(values.max())
    if high <= low:
        low, high = low - abs(low or 1.0) / 2, high + abs(high or 1.0) / 2
    rough = (high - low) / 4
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * times for times in (1, 2, 2.5, 5, 10) if power * times >= rough)
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return [float(step * number) for number in range(int(first), int(last) + 1)]


def _polylines(lines: Sequence[tuple[str, ArrayLike, ArrayLike]], points: int) -> list[str]:
    """Curves in the unit square; a single point is drawn as one."""
    drawn = []
    for number, (_, x, y) in enumerate(lines):
        xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
        if len(xs) > points:
            kept = np.unique(np.linspace(0, len(xs) - 1, points).astype(np.int64))
            xs, ys = xs[kept], ys[kept]
        px, py = _place(xs, ys)
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(px, py, strict=True))
        color = COLORS[number % len(COLORS)]
        if len(xs) == 1:
            drawn.append(f'<circle cx="{px[0]:.1f}" cy="{py[0]:.1f}" r="2.5" fill="{color}"/>')
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8"/>')
    return drawn


def _x_ticks(ticks: Sequence[tuple[float, str]]) -> list[str]:
    marks = []
    for at, label in ticks:
        x, y = _place(at, 0.0)
        marks.append(
            f'<text x="{float(x):.1f}" y="{float(y) + 14:.1f}" text-anchor="middle">{html.escape(label)}</text>'
        )
    return marks


def bar_chart(groups: Sequence[str], series: Sequence[tuple[str, Sequence[float]]], y_title: str) -> str:
    """Bars of values from 0 to 1, a group of them for each name.

    Args:
        groups: Names below the bars.
        series: Name and a value for each group.
        y_title: Beside the axis.
    """
    inside, count = [], max(1, len(series))
    for place, name in enumerate(groups):
        start = place / len(groups)
        for number, (_, values) in enumerate(series):
            width = 0.8 / len(groups) / count
            x0, y0 = _place(start + 0.1 / len(groups) + number * width, max(0.0, min(1.0, values[place])))
            _, floor = _place(0, 0)
            pixels = width * (_WIDTH - _LEFT - _RIGHT)
            inside.append(
                f'<rect x="{float(x0):.1f}" y="{float(y0):.1f}" width="{pixels:.1f}" '
                f'height="{float(floor - y0):.1f}" fill="{COLORS[number % len(COLORS)]}"/>'
            )
        x, y = _place(start + 0.5 / len(groups), 0)
        inside.append(
            f'<text x="{float(x):.1f}" y="{float(y) + 14:.1f}" text-anchor="middle">{html.escape(name)}</text>'
        )
    inside.append(_legend([name for name, _ in series]))
    return _frame("", y_title, "".join(inside), [(t / 5, f"{t / 5:.1f}") for t in range(6)])


def histogram(scores: ArrayLike, truth: ArrayLike, bins: int = 30) -> str:
    """How scores of true and of untrue pairs are spread, each as a share of its own kind, on a scale of square roots.

    Args:
        scores: Any shape.
        truth: The same shape.
        bins: How many.
    """
    values, true = np.asarray(scores, np.float64).ravel(), np.asarray(truth, np.bool_).ravel()
    low, high = float(values.min()), float(values.max())
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    inside, names = [], []
    for number, (name, kept) in enumerate((("true", true), ("untrue", ~true))):
        shares = np.histogram(values[kept], edges)[0] / max(1, int(kept.sum()))
        x, y = _place(np.repeat(np.linspace(0, 1, bins + 1), 2)[1:-1], np.sqrt(np.repeat(shares, 2)))
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        color = COLORS[number]
        inside.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8"/>')
        names.append(name)
    for at in (0.0, 0.5, 1.0):
        x, y = _place(at, 0.0)
        label = f"{edges[0] + at * (edges[-1] - edges[0]):.2f}"
        inside.append(f'<text x="{float(x):.1f}" y="{float(y) + 14:.1f}" text-anchor="middle">{label}</text>')
    inside.append(_legend(names))
    ticks = [(share**0.5, f"{share:g}") for share in (0.0, 0.01, 0.05, 0.2, 0.5, 1.0)]
    return _frame("score", "share of pairs", "".join(inside), ticks)
