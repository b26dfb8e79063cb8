"""The report's plots as inline SVG: no script, no raster, and lines and letters in the colour of the page's text."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Points = Sequence[Sequence[float]]

#: Stands for the page's own text colour, light or dark, until the SVG is put together.
_INK = "#010203"
#: Told apart in both colour schemes and by most colour-blind readers.
COLOURS = ("#3d7fc4", "#d9772b", "#2f9e6e", "#c04f8f")
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 11,
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _INK,
    "grid.alpha": 0.15,
    "legend.frameon": False,
}


def reliability_plot(before: Points, after: Points) -> str:
    """Share right against mean confidence by bin; points are (confidence, share right, cells)."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes("mean probability of the named type", "share that is right")
        axes.plot([0, 1], [0, 1], color=_INK, alpha=0.5, linewidth=1, linestyle=(0, (4, 3)))
        for points, name, colour, marker in (
            (before, "before temperature", COLOURS[1], "s"),
            (after, "after temperature", COLOURS[0], "o"),
        ):
            axes.plot(
                [p[0] for p in points], [p[1] for p in points], color=colour, marker=marker, markersize=5,
                label=name,
            )  # fmt: skip
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.legend(loc="upper left")
        return _svg(figure, "reliability")


def risk_coverage_plot(points: Points) -> str:
    """Share wrong among the surest cells, by the share of cells that are kept."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes("share of cells kept, the surest first", "share of them wrong")
        axes.plot([p[0] for p in points], [p[1] for p in points], color=COLOURS[0], linewidth=2)
        axes.set(xlim=(0, 1), ylim=(0, None))
        return _svg(figure, "risk-coverage")


def roc_plot(curves: Mapping[str, Points]) -> str:
    """True against false positive rate; by name in the legend."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes("false positive rate", "true positive rate")
        axes.plot([0, 1], [0, 1], color=_INK, alpha=0.5, linewidth=1, linestyle=(0, (4, 3)))
        for (name, points), colour in zip(curves.items(), COLOURS, strict=False):
            axes.plot([p[0] for p in points], [p[1] for p in points], color=colour, linewidth=2, label=name)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        axes.legend(loc="lower right", fontsize=9)
        return _svg(figure, "roc")


def strain_plot(
    name: str, unit: str, points: Sequence[tuple[float, float, tuple[float, float] | None]]
) -> str:
    """Accuracy by the grade of one strain, with its interval; points are (grade, accuracy, interval)."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(unit, "accuracy, eleven types", size=(3.6, 2.9))
        x = [p[0] for p in points]
        low = [p[2][0] if p[2] else p[1] for p in points]
        high = [p[2][1] if p[2] else p[1] for p in points]
        axes.fill_between(x, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
        axes.plot(x, [p[1] for p in points], color=COLOURS[0], marker="o", markersize=4)
        axes.set(ylim=(0, 1.02))
        if x[0] > x[-1]:
            axes.invert_xaxis()
        return _svg(figure, name)


def _axes(x: str, y: str, size: tuple[float, float] = (5.2, 3.9)) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    axes.grid(visible=True)
    axes.set(xlabel=x, ylabel=y)
    return figure, axes


def _svg(figure: Figure, name: str) -> str:
    """The drawing alone: ids made its own, the same on every run, and ink that follows the page."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", text)
    for identifier in sorted(used, key=len, reverse=True):
        text = re.sub(rf'(#|id="){re.escape(identifier)}(?=[")])', rf"\g<1>{name}-{identifier}", text)
    # Width and height in points would not let a narrow page shrink it.
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text)
    # The caption beside it says what it shows; its letters are the page's, its style sheet would be the page's too.
    text = text.replace("<svg ", '<svg aria-hidden="true" style="stroke-linejoin: round" ', 1)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    return text.replace(_INK, "currentColor")
