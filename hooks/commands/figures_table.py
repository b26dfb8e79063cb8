"""The figures of the bundled model in README.md, made from its card; run as a module with the path of that page."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.package import bundled_package, load_card

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"

#: Metric of the card to what it says, in the order of the table.
FIGURES: Mapping[str, str] = {
    "macro_f1_eleven": "Cell types, macro F1 over eleven types that laboratories report, all sources trained on",
    "border_colour_baseline.macro_f1_eleven": "the same from the border's colour alone, no cell in view",
    "macro_f1": "Cell types, macro F1 over the network's own seventeen",
    "border_colour_baseline.macro_f1": "the same from the border's colour alone",
    "accuracy_five.cellavision_blog": "Five types in a laboratory never trained on (cellavision_blog), accuracy",
    "accuracy.cellavision_blog": "Seventeen types in a laboratory never trained on (cellavision_blog), accuracy",
    "left_out.lisc.accuracy_five": "Five types in a laboratory left out of one training (lisc), accuracy",
    "left_out.allidb2.lymphoblasts_called_blast": "Lymphoblasts called blasts, allidb2 left out of one training",
    "hopkins_blast_auroc": "Blasts against other cells of the same patients, hopkins, AUROC by cell",
    "border_colour_baseline.hopkins_blast_auroc": "the same from the border's colour alone",
    "hopkins_patients.at_least_10_percent.AML": "Studies of AML patients with 10 % leukemic cells or more named AML",
    "allidb2_lymphoblast_auroc": "Lymphoblasts against other cells, allidb2, AUROC by cell",
    "border_colour_baseline.allidb2_lymphoblast_auroc": "the same from the border's colour alone",
    "taleqani_field_auroc": "ALL against benign, taleqani, AUROC by field",
    "border_colour_baseline.taleqani_field_auroc": "the same from the border's colour alone",
    "lyon_patient_auroc": "Tumoral against reactive lymphocytosis, lyon, AUROC by patient",
    "lyon_patient_balanced_accuracy": "the same, balanced accuracy by patient",
    "border_colour_baseline.lyon_patient_auroc": "the same from the border's colour alone, AUROC by patient",
    "five_class.balanced_accuracy": "Five patterns on composed studies (CML without a CML patient), balanced accuracy",
    "border_colour_baseline.five_class.balanced_accuracy": "the same from the border's colour alone",
    "healthy_called_leukemia": "Composed studies without leukemia called leukemia",
    "calibration_error": "Calibration error of the cell types' probabilities (ECE)",
}


def figures_table(card: Mapping[str, Any]) -> str:
    """Markdown: what is measured, value, 95 % interval, n; and the command that measures it."""
    metrics = card["metrics"]
    known = {name: words for name, words in FIGURES.items() if name in metrics}
    rows = [
        "| measured on the test split, groups never seen in training | value | 95 % interval | n |",
        "|---|---:|---:|---:|",
    ]
    for name, words in known.items():
        figure = metrics[name]
        low, high = figure["interval"] or (None, None)
        interval = "" if low is None else f"{low:.3f} to {high:.3f}"
        unit = figure.get("unit", "cells")
        n = figure["n"] if unit == "cells" else f"{figure['n']} {unit}"
        rows.append(f"| {words} | {figure['value']:.3f} | {interval} | {n} |")
    commands = list(dict.fromkeys(metrics[name]["command"] for name in known))
    said = f"\n`{card['name']}` {card['version']}. Measured by " + ", ".join(f"`{c}`" for c in commands)
    return "\n".join(rows) + "\n" + said + "; intervals by bootstrap over groups.\n"


def rewritten(page: str, table: str) -> str:
    """The page with what stands between the two marks made anew. Raises ValueError when it has no such place."""
    if page.count(BEGIN) != 1 or page.count(END) != 1:
        raise ValueError(f"the page must hold {BEGIN} and {END} once")
    return re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{table}{END}", page, flags=re.DOTALL)


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    document = load_card(bundled_package()).document
    readme.write_text(rewritten(readme.read_text(), figures_table(document)))
