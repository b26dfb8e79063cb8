import re
from typing import Any

from models.images.report import page

FIGURE = {"value": 0.8, "interval": [0.7, 0.9], "n": 40, "unit": "images"}
NAMES = ("accuracy", "balanced_accuracy", "macro_f1", "auroc", "calibration_error")
CARD = {
    "model": "resnet34", "protocol": "grouped", "temperature": 1.2,
    "input": {"size_px": 64, "fit": "as it is", "white_balance": True},
    "split": {"images": {"train": {"healthy": 30, "ALL": 31}}, "groups": {"train": 9}, "notes": ["<b>a note</b>"]},
    "training": {"epochs": 2, "features": ["one", "two"]},
}  # fmt: skip
HISTORY = [
    {
        "epoch": 1,
        "loss": 0.9,
        "accuracy": 0.5,
        "validation_loss": 1.0,
        "validation_accuracy": 0.4,
        "seconds": 1,
    },
    {
        "epoch": 2,
        "loss": 0.4,
        "accuracy": 0.9,
        "validation_loss": 0.6,
        "validation_accuracy": 0.8,
        "seconds": 1,
    },
]


def report(**changes: Any) -> dict[str, Any]:
    by_class = {
        f"{s}.{c}": FIGURE for s in ("accuracy", "precision", "recall", "f1") for c in ("healthy", "ALL")
    }
    figures = {
        **{name: FIGURE for name in NAMES},
        **by_class,
        "border_colour_baseline.accuracy": {**FIGURE, "value": 0.625},
    }
    return {
        "command": "leukocds evaluate", "measured": "40 images", "labels": ["healthy", "ALL"], "figures": figures,
        "confusion": [[18, 2], [6, 14]], "history": HISTORY, **changes,
    }  # fmt: skip


def test_one_page_holds_everything_and_fetches_nothing() -> None:
    html = page([(CARD, report())])
    assert "0.700 to 0.900" in html
    assert "0.625" in html
    assert html.count("<svg") == 2
    assert not re.search(r"<script|<img|@import|src=", html)
    assert re.findall(r"(?:--s[^>]*)>(\d+)</td>", html) == ["18", "2", "6", "14"]
    assert "&lt;b&gt;a note&lt;/b&gt;" in html
    assert "one, two" in html


def test_leaky_and_grouped_stand_side_by_side_and_leaky_is_said_to_be() -> None:
    grouped = page([(CARD, report())])
    both = page([(CARD, report()), ({**CARD, "protocol": "leaky"}, report())])
    assert "Leaky on purpose" in both
    assert "Leaky on purpose" not in grouped
    assert both.count("<h2>resnet34, ") == 2
    assert "Side by side" in both


def test_what_was_not_measured_is_a_dash() -> None:
    figures = report()["figures"]
    figures.pop("border_colour_baseline.accuracy")
    figures["precision.ALL"] = {"value": None, "interval": None, "n": 40, "unit": "images"}
    html = page([(CARD, report(figures=figures))])
    assert html.count(">–<") == 2


def test_a_machine_shows_its_generations() -> None:
    html = page([({**CARD, "model": "svm-ga"}, report(history={"values": [0.7, 0.8], "kept": [9, 8]}))])
    assert html.count("<svg") == 1
    assert "generation by generation" in html
