"""Figures as inline SVG: deterministic, text kept as text, colours taken from the page's style sheet.

Matplotlib draws with stand-in colours that are then replaced by CSS variables, so one figure works in
light and dark. Nothing here reads files or knows the run's layout.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_INK, _FAINT, _SERIES = "#010203", "#020304", "#0304{:02x}"
NUM_SERIES = 6
_WIDTH = 5.2  # inches at 72 units each: legible on a phone without zooming
_FONT = 9.5


@dataclass(frozen=True)
class Figure:
    """`svg` is trusted markup made here; `caption` is plain text."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Dot:
    """One estimate with its interval; `series` chooses the colour, `hollow` the marker."""

    label: str
    value: float
    low: float
    high: float
    series: int = 0
    hollow: bool = False


@dataclass(frozen=True)
class Change:
    """One estimate before and after, each (value, low, high), and what the difference is, in words."""

    label: str
    before: tuple[float, float, float]
    after: tuple[float, float, float]
    text: str


@contextmanager
def _canvas(height: float) -> Generator[tuple[Any, Any]]:
    """A figure of `height` inches, drawn without any display and without touching the caller's settings."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    settings: Any = {
        "svg.hashsalt": "qrdistill",
        "svg.fonttype": "none",
        "font.size": _FONT,
        "font.family": "sans-serif",
        "text.color": _INK,
        "axes.labelcolor": _INK,
        "axes.edgecolor": _FAINT,
        "xtick.color": _INK,
        "ytick.color": _INK,
        "axes.grid": True,
        "grid.color": _FAINT,
        "grid.linewidth": 0.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "path.simplify": False,
    }
    with matplotlib.rc_context(settings):
        figure = Canvas(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, figure.subplots()


def _svg(figure: Any, name: str, caption: str) -> Figure:
    """The figure's markup, fit to stand in a page beside others: own ids, no fixed size, no namespaces."""
    buffer = io.StringIO()
    empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=empty, transparent=True)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", text, flags=re.DOTALL)
    text = text.replace("xlink:href", "href")
    text = re.sub(r'\sid="([^"]*)"', rf' id="{name}-\1"', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{name}-", text)
    text = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", text)
    text = re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", text)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", text)
    text = text.replace(_INK, "var(--ink)").replace(_FAINT, "var(--line)")
    for number in range(NUM_SERIES):
        text = text.replace(_SERIES.format(number), f"var(--series-{number})")
    label = caption.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return Figure(text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1).strip(), caption)


def colour(series: int) -> str:
    return _SERIES.format(series % NUM_SERIES)


def dots(name: str, caption: str, rows: Sequence[Dot], *, unit: str = "accuracy, %") -> Figure:
    """One row per estimate, a line for its interval; values are shares, shown in per cent."""
    row = 0.36 if any("\n" in _label(dot.label) for dot in rows) else 0.27
    with _canvas(0.55 + row * max(2, len(rows))) as (figure, axis):
        for place, dot in enumerate(rows):
            tint = colour(dot.series)
            axis.plot(
                [100 * dot.low, 100 * dot.high],
                [place, place],
                color=tint,
                linewidth=2.2,
                solid_capstyle="butt",
            )
            axis.plot(
                [100 * dot.value],
                [place],
                "o",
                markersize=6.5,
                color=tint,
                markeredgewidth=1.6,
                fillstyle="none" if dot.hollow else "full",
            )
            axis.annotate(
                _number(100 * dot.value),
                (100 * dot.value, place),
                xytext=(0, 5.5),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=_FONT - 1.5,
            )
        _a_line_per_row(axis, [dot.label for dot in rows], unit)
        if any(dot.low < 0 < dot.high or dot.value < 0 for dot in rows):
            axis.axvline(0, color=_INK, linewidth=0.8)
        return _svg(figure, name, caption)


def _a_line_per_row(axis: Any, labels: Sequence[str], unit: str) -> None:
    """Rows from the top down, named at the left, without a frame there."""
    axis.set_yticks(range(len(labels)), [_label(label) for label in labels])
    axis.set_ylim(len(labels) - 0.5, -0.75)
    axis.grid(axis="y", visible=False)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel(unit)


def changes(name: str, caption: str, rows: Sequence[Change], *, unit: str = "accuracy, %") -> Figure:
    """A line per row: a hollow dot before, a full one after, what changed above them."""
    with _canvas(0.6 + 0.5 * max(2, len(rows))) as (figure, axis):
        for place, row in enumerate(rows):
            tint = colour(place - 1 if len(rows) > 1 and place else NUM_SERIES - 1 if len(rows) > 1 else 0)
            for (value, low, high), shift, fill in ((row.before, 0.12, "none"), (row.after, -0.12, "full")):
                axis.plot([100 * low, 100 * high], [place + shift] * 2, color=tint, linewidth=1.6)
                marker: Any = {"markersize": 7, "markeredgewidth": 1.6, "fillstyle": fill}
                axis.plot([100 * value], [place + shift], "o", color=tint, **marker)
            middle = 50 * (row.before[0] + row.after[0])
            axis.annotate(
                row.text,
                (middle, place - 0.12),
                xytext=(0, 7),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=_FONT - 1,
            )
        _a_line_per_row(axis, [row.label for row in rows], unit)
        return _svg(figure, name, caption)


def trade(
    name: str,
    caption: str,
    lines: Mapping[str, Sequence[tuple[float, Dot]]],
    points: Mapping[str, tuple[float, Dot]],
) -> Figure:
    """Accuracy over decodes per question: lines for what can be bought step by step, points for votes."""
    markers = "osD^vP*X"
    with _canvas(3.1) as (figure, axis):
        for number, (label, entries) in enumerate(lines.items()):
            tint = colour(number)
            xs = [x for x, _ in entries]
            axis.fill_between(
                xs,
                [100 * dot.low for _, dot in entries],
                [100 * dot.high for _, dot in entries],
                color=tint,
                alpha=0.12,
                linewidth=0,
            )
            axis.plot(
                xs,
                [100 * dot.value for _, dot in entries],
                ".-",
                color=tint,
                linewidth=1.5,
                label=_label(label, 40),
            )
        for number, (label, (x, dot)) in enumerate(points.items()):
            tint = colour(len(lines) + number)
            axis.plot([x, x], [100 * dot.low, 100 * dot.high], color=tint, linewidth=1.4, alpha=0.7)
            axis.plot(
                [x],
                [100 * dot.value],
                markers[number % len(markers)],
                color=tint,
                markersize=6.5,
                fillstyle="none" if dot.hollow else "full",
                label=_label(label, 40),
            )
        axis.set_xlabel("decodes per question")
        axis.set_ylabel("accuracy, %")
        axis.set_xlim(left=0)
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=_FONT - 1)
        return _svg(figure, name, caption)


def reliability(name: str, caption: str, lines: Mapping[str, Sequence[tuple[float, float, int]]], *, x: str) -> Figure:
    """Accuracy over confidence, one marked line per pair; the diagonal is perfect calibration."""
    with _canvas(2.6) as (figure, axis):
        axis.plot([0, 100], [0, 100], color=_FAINT, linewidth=1.2)
        for number, (label, bins) in enumerate(lines.items()):
            axis.plot(
                [100 * c for c, _, _ in bins],
                [100 * a for _, a, _ in bins],
                "o-",
                markersize=3.5,
                color=colour(number),
                linewidth=1.3,
                label=_label(label),
            )
        axis.set_xlabel(x)
        axis.set_ylabel("right, %")
        axis.set_ylim(-3, 103)
        axis.set_xlim(-1, 101)
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=_FONT - 1)
        return _svg(figure, name, caption)


def _label(label: str, width: int = 26) -> str:
    """A label of at most two lines, which matplotlib reads neither as mathematics nor as hidden."""
    lines = textwrap.wrap(" ".join(label.split()), width) or ["–"]
    if len(lines) > 2:
        lines = [lines[0], lines[1][: width - 1] + "…"]
    return "\n".join(lines).replace("$", r"\$").lstrip("_") or "–"


def _number(value: float) -> str:
    return f"{value:.1f}".replace("-", "\u2212")
