"""Tables and curves of the report that are no single figure: confusions, reliability, risk and coverage, patients."""

from typing import Any

import numpy as np
import numpy.typing as npt

from cds.values import CLASSES, Pattern
from models.evaluation.calibration import confidences
from models.evaluation.cells import BLAST_AGAINST_OTHER, blast_scores, confusions, judged_merged, pooled
from models.evaluation.figures import Answers
from models.evaluation.patients import lymphocytosis_scores
from models.evaluation.studies import named
from models.evaluation.study_figures import NAMED, five_class_table
from models.merging import ELEVEN
from models.package import ModelCard
from models.statistics import reliability, risk_coverage

#: Points that a curve is kept by.
_POINTS = 60


def tables_of(answers: Answers, card: ModelCard) -> dict[str, Any]:
    """By name, ready for JSON."""
    cells = answers.cells
    sure = confidences(cells, card.temperature)
    merged = judged_merged(pooled(cells), ELEVEN)
    tables: dict[str, Any] = {
        "cell_types": confusions(cells),
        "reliability": {
            "after": _rounded(reliability(sure.after, sure.right)),
            "before": _rounded(reliability(sure.before, sure.right)),
        },
        "risk_coverage": _thinned(*risk_coverage(merged.confidence, merged.right)),
        "roc": _rocs(answers),
    }
    if answers.studies:
        model = card.pattern_model
        tables["five_class"] = {
            "rows": [str(c) for c in CLASSES],
            "columns": [str(c) for c in NAMED],
            "counts": five_class_table(answers.studies, model),
        }
        tables["hopkins_patients"] = _patients(answers, card)
    return tables


def _patients(answers: Answers, card: ModelCard) -> list[dict[str, Any]]:
    """Each hopkins patient with the experts' share of leukemic cells and what its composed studies were named."""
    own = [s for s in answers.studies if s.of == "hopkins"]
    shares = {s.group: s.leukemic_share or 0.0 for s in own}
    rows = []
    for group in sorted(shares, key=lambda g: -shares[g]):
        said = [named(s, card.pattern_model) for s in own if s.group == group]
        others = [p for p in said if p not in (Pattern.AML, Pattern.INDETERMINATE, Pattern.HEALTHY)]
        rows.append({
            "patient": group, "leukemic_share": shares[group], "studies": len(said),
            "AML": said.count(Pattern.AML), "indeterminate": said.count(Pattern.INDETERMINATE),
            "healthy": said.count(Pattern.HEALTHY), "other_leukemia": len(others),
        })  # fmt: skip
    return rows


def _rocs(answers: Answers) -> dict[str, list[list[float]]]:
    """False and true positive rate by falling score, by figure name."""
    curves = {}
    for name, (source, kinds) in BLAST_AGAINST_OTHER.items():
        score, positive, _ = blast_scores(answers.cells.of(source), kinds)
        curves[name] = (score, positive)
    scores = lymphocytosis_scores(answers.cells)
    curves["lyon_patient_auroc"] = (scores.score, scores.tumoral)
    curves["taleqani_field_auroc"] = (
        np.array([f.mean_blast for f in answers.fields]),
        np.array([f.disease == "ALL" for f in answers.fields], bool),
    )
    found = {}
    for name, (score, positive) in curves.items():
        if len(score) and positive.any() and not positive.all():
            order = np.argsort(-score, kind="stable")
            # Equal scores fall together, or the order among them would draw a better curve than there is.
            last = np.append(np.diff(score[order]) != 0, True)
            true = np.cumsum(positive[order])[last] / positive.sum()
            false = np.cumsum(~positive[order])[last] / (~positive).sum()
            found[name] = _thinned(np.insert(false, 0, 0.0), np.insert(true, 0, 0.0), most=200)
    return found


def _rounded(points: list[tuple[float, float, int]]) -> list[list[float]]:
    return [[round(a, 4), round(b, 4), n] for a, b, n in points]


def _thinned(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], most: int = _POINTS
) -> list[list[float]]:
    rows = np.unique(np.linspace(0, len(x) - 1, min(most, len(x))).round().astype(int))
    return [[round(float(x[i]), 4), round(float(y[i]), 4)] for i in rows]
