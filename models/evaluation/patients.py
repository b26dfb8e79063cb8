"""Figures by patient that need no composed study: tumoral against reactive lymphocytosis (Lyon)."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.evaluation.predictions import Predictions
from models.statistics import Figure, auroc, balanced_accuracy, by_groups

SOURCE = "lyon"
TUMORAL = "tumoral_lymphocyte"
#: Where a card states none.
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatientScores:
    """Patients ``(p,)`` with a score each, and whether the disease is tumoral."""

    patients: tuple[str, ...]
    score: npt.NDArray[np.float64]
    tumoral: npt.NDArray[np.bool_]


def lymphocytosis_scores(predictions: Predictions) -> PatientScores:
    """Mean over a patient's cells of the share of CLL-like within the probability of all lymphocytes."""
    part = predictions.of(SOURCE)
    share = part.probability("cll_lymphocyte") / np.maximum(
        part.probability("cll_lymphocyte", "lymphocyte", "reactive_lymphocyte"), 1e-6
    )
    return by_patient(share, part.group, part.source_label)


def by_patient(
    score: npt.NDArray[np.float64], group: tuple[str, ...], source_label: tuple[str, ...]
) -> PatientScores:
    """The mean of a score over each patient's cells; a patient's cells share one label."""
    patients = tuple(sorted(set(group)))
    groups, labels = np.array(group), np.array(source_label)
    return PatientScores(
        patients=patients,
        score=np.array([score[groups == p].mean() for p in patients]),
        tumoral=np.array([bool((labels[groups == p] == TUMORAL).all()) for p in patients]),
    )


def lymphocytosis_figures(scores: PatientScores, threshold: float) -> dict[str, Figure]:
    """AUROC, and balanced accuracy, sensitivity and specificity at the card's threshold."""
    if not scores.patients:
        return {}
    said = scores.score > threshold
    tumoral = scores.tumoral
    return {
        "lyon_patient_auroc": _of(scores, lambda rows: auroc(scores.score[rows], tumoral[rows])),
        "lyon_patient_balanced_accuracy": _of(
            scores, lambda rows: balanced_accuracy(said[rows], tumoral[rows])
        ),
        "lyon_patient_sensitivity": _of(scores, lambda rows: _share(said[rows][tumoral[rows]])),
        "lyon_patient_specificity": _of(scores, lambda rows: _share(~said[rows][~tumoral[rows]])),
    }


def _of(scores: PatientScores, statistic: Callable[[npt.NDArray[np.intp]], float]) -> Figure:
    return by_groups(statistic, scores.patients, unit="patients")


def _share(flags: npt.NDArray[np.bool_]) -> float:
    return float(flags.mean()) if len(flags) else float("nan")
