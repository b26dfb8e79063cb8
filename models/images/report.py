"""The page about one package, or several side by side: one HTML file, plots inside it, nothing fetched."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from models.images.kinds import LEAKY
from models.images.measuring import BASELINE
from models.images.plots import curves, selection

_TEMPLATE = "report.html"
#: Figure to how the table of all packages names it.
_COMPARED = {
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "auroc": "AUROC",
    "by_group.accuracy": "accuracy by group",
    "by_group.auroc": "AUROC by group",
}


def write_page(
    path: Path, packages: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], title: str = ""
) -> None:
    """Write the page. packages: card and report of each, in the order in which they are shown."""
    path.write_text(page(packages, title), encoding="utf-8")


def page(packages: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], title: str = "") -> str:
    """HTML of the page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": _number, "interval": _interval}
    shown = [
        {
            "id": f"package-{k}",
            "title": f"{card['model']}, {card['protocol']}",
            "card": card,
            "report": report,
            "leaky": card["protocol"] == LEAKY,
            "plots": _plots(report["history"]),
            "shares": [[n / max(1, sum(row)) for n in row] for row in report["confusion"]],
        }
        for k, (card, report) in enumerate(packages)
    ]
    return environment.get_template(_TEMPLATE).render(
        title=title or (shown[0]["title"] if len(shown) == 1 else "Whole images: packages side by side"),
        packages=shown,
        labels=list(dict.fromkeys(label for _, report in packages for label in report["labels"])),
        compared={
            name: words
            for name, words in _COMPARED.items()
            if any(name in report["figures"] for _, report in packages)
        },
        baseline=BASELINE,
    )


def _plots(history: Any) -> list[tuple[str, str]]:
    """Caption and SVG of each plot: a network's epochs are a list, a machine's generations an object."""
    if isinstance(history, Mapping):
        return [("The best set of features, generation by generation", selection(history))]
    return [("Loss", curves(history, "loss")), ("Accuracy", curves(history, "accuracy"))] if history else []


def _number(figure: Mapping[str, Any] | None) -> str:
    """Three decimals; a dash for what is undefined or not measured."""
    return "–" if figure is None or figure["value"] is None else f"{figure['value']:.3f}"


def _interval(figure: Mapping[str, Any] | None) -> str:
    pair = figure["interval"] if figure else None
    return "" if not pair else f"{pair[0]:.3f} to {pair[1]:.3f}"
