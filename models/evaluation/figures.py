"""All figures that follow from what a package said, read from its report's files or just measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.evaluation.calibration import calibration_figures, external_distance_figures
from models.evaluation.cells import cell_figures, five_type_figures
from models.evaluation.fields import field_figures
from models.evaluation.patients import DEFAULT_THRESHOLD, lymphocytosis_figures, lymphocytosis_scores
from models.evaluation.predictions import FieldReading, Predictions
from models.evaluation.studies import ComposedStudy
from models.evaluation.study_figures import block_figures, study_figures
from models.package import ModelCard
from models.statistics import Figure


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """All that a package said about the test split, from which `figures_of` makes its figures."""

    cells: Predictions
    fields: Sequence[FieldReading] = ()
    studies: Sequence[ComposedStudy] = ()
    #: Cells of sources that another training never saw.
    left_out: Predictions | None = None


def figures_of(answers: Answers, card: ModelCard) -> dict[str, Figure]:
    """Every figure that follows from predictions alone, so that a reader can compute them again from the files.

    The intervals of composed studies are not among them: they take the bank of cells (`bootstrap_five_classes`).
    """
    document = card.document
    found = cell_figures(answers.cells)
    found |= lymphocytosis_figures(lymphocytosis_scores(answers.cells), DEFAULT_THRESHOLD)
    found |= calibration_figures(answers.cells, card.temperature)
    if "threshold" in (document.get("ood") or {}):
        found |= external_distance_figures(answers.cells, float(document["ood"]["threshold"]))
    found |= field_figures(list(answers.fields))
    if answers.left_out is not None:
        found |= left_out_figures(answers.left_out)
    if card.pattern_model.features:
        found |= study_figures(answers.studies, card.pattern_model)
        found |= block_figures(answers.fields, card.pattern_model) if answers.fields else {}
    return found


def left_out_figures(cells: Predictions) -> dict[str, Figure]:
    """Cells of sources that a training never saw: five types, and what lymphoblasts are called."""
    found: dict[str, Figure] = {}
    for source in sorted(set(cells.source)):
        part = cells.of(source)
        found |= {
            f"left_out.{source}.{name}": figure
            for name, figure in (cell_figures(part) | five_type_figures(part)).items()
            if name in ("accuracy_five", "macro_f1_five", "accuracy_eleven", f"{source}_lymphoblast_auroc")
        }
        blasts = part.where(np.array(part.source_label) == "lymphoblast")
        if blasts.source:
            called = {name: f for name, f in cell_figures(blasts).items() if name == "accuracy_eleven"}
            found[f"left_out.{source}.lymphoblasts_called_blast"] = called["accuracy_eleven"]
            found.pop(f"left_out.{source}.accuracy_five", None)
            found.pop(f"left_out.{source}.macro_f1_five", None)
    return found
