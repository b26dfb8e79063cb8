"""Curves of a training as inline SVG: no script, no raster, and lines and letters in the colour of the page's text."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

#: Stands for the page's text colour until the SVG is put together.
_INK = "#010203"
#: Training and validation; told apart in both colour schemes and by most colour-blind readers.
COLOURS = ("#3d7fc4", "#d9772b")
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 11, "text.color": _INK, "axes.edgecolor": _INK,
    "axes.labelcolor": _INK, "axes.spines.top": False, "axes.spines.right": False, "xtick.color": _INK,
    "ytick.color": _INK, "grid.color": _INK, "grid.alpha": 0.15, "legend.frameon": False,
}  # fmt: skip


def curves(history: Sequence[Mapping[str, float]], what: str) -> str:
    """`what` ("loss" or "accuracy") by epoch, in training and validation."""
    lines = []
    for key, name in ((what, "training"), (f"validation_{what}", "validation")):
        points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
        if points:
            lines.append((name, points))
    return _drawn(lines, "epoch", what, top=1.02 if what == "accuracy" else None)


def selection(history: Mapping[str, Any]) -> str:
    """Best value of each generation of the genetic selection."""
    points = [(generation, value) for generation, value in enumerate(history["values"])]
    return _drawn(
        [("best of the generation", points)], "generation", "balanced accuracy less price", top=None
    )


def _drawn(
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], x: str, y: str, *, top: float | None
) -> str:
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.6, 3.1), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        axes.grid(visible=True)
        for (name, points), colour in zip(lines, COLOURS, strict=False):
            marker = "o" if len(points) < 3 else None  # a single epoch is a point, not a line
            axes.plot([p[0] for p in points], [p[1] for p in points], color=colour, marker=marker, label=name)
        axes.set(xlabel=x, ylabel=y)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        if top is not None:
            axes.set_ylim(0, top)
        if len(lines) > 1:
            axes.legend()
        buffer = io.StringIO()
        with matplotlib.rc_context({"svg.hashsalt": y}):
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue())


def _inline(text: str) -> str:
    """The drawing alone, as wide as its place. Ids are dropped but for those referred to, which stay the same."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    text = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", text)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text)
    return text.replace("<svg ", '<svg aria-hidden="true" focusable="false" ', 1).replace(
        _INK, "currentColor"
    )
