"""Figures by cell: how often the type is right, over seventeen, eleven and five types, and blasts against the rest."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from models.evaluation.predictions import EXTERNAL, Predictions
from models.labels import CELL_TYPES
from models.merging import ELEVEN, FIVE, merge_allowed, merge_probabilities
from models.statistics import Figure, auroc, by_groups, confusion, macro_f1

#: Labels of more types than this say too little to be right or wrong by.
_MOST_ALLOWED = 2
#: Sources whose labels are the five types of healthy blood.
FIVE_TYPE_SOURCES = ("lisc", EXTERNAL)
#: Within a source: its leukemic cells against all its other cells.
BLAST_AGAINST_OTHER: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "hopkins_blast_auroc": ("hopkins", ("blast", "promonocyte")),
    "allidb2_lymphoblast_auroc": ("allidb2", ("lymphoblast",)),
}


def cell_figures(predictions: Predictions) -> dict[str, Figure]:
    """All figures that labelled cells give."""
    found: dict[str, Figure] = {}
    for name, part in {"": pooled(predictions), **_by_source(predictions)}.items():
        found |= _seventeen(part, name) | _eleven(part, name)
    for source in FIVE_TYPE_SOURCES:
        if source in predictions.source:
            found |= five_type_figures(predictions.of(source), f".{source}")
    return found | _blasts(predictions)


def pooled(predictions: Predictions) -> Predictions:
    """Without the source that was never trained on: it stands alone."""
    return predictions.where(np.array(predictions.source) != EXTERNAL)


def judged(predictions: Predictions) -> Predictions:
    """Cells whose label allows at most two of the seventeen types."""
    return predictions.where(predictions.allowed.sum(axis=1) <= _MOST_ALLOWED)


def judged_merged(predictions: Predictions, merging: Mapping[str, tuple[str, ...]]) -> "Merged":
    """The cells whose label allows exactly one merged type; probabilities are summed before the highest is taken."""
    allowed = merge_allowed(predictions.allowed, merging)
    one = allowed.sum(axis=1) == 1
    kept = predictions.where(one)
    probabilities = merge_probabilities(kept.probabilities, merging)
    return Merged(
        truth=allowed[one].argmax(axis=1).astype(np.int64),
        predicted=probabilities.argmax(axis=1).astype(np.int64),
        confidence=probabilities.max(axis=1),
        group=kept.group,
        labels=len(merging),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Merged:
    """True and predicted label, the prediction's probability and the group of each cell ``(n,)``, over some labels."""

    truth: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    group: tuple[str, ...]
    labels: int

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.truth == self.predicted)

    def macro_f1(self) -> Figure:
        return by_groups(
            lambda rows: macro_f1(confusion(self.truth[rows], self.predicted[rows], self.labels)), self.group
        )


def five_type_figures(part: Predictions, suffix: str = "") -> dict[str, Figure]:
    """Accuracy and macro F1 over the five types of healthy blood; a cell called anything else is wrong."""
    return _figures(judged_merged(part, FIVE), "_five", suffix)


def confusions(predictions: Predictions) -> dict[str, Any]:
    """Confusion counts (rows truth, columns predicted) and precision, recall, F1 by type, external left out."""
    part = judged(pooled(predictions))
    merged = judged_merged(pooled(predictions), ELEVEN)
    return {
        "seventeen": _table(CELL_TYPES, confusion(part.truth, part.predicted, len(CELL_TYPES))),
        "eleven": _table(tuple(ELEVEN), confusion(merged.truth, merged.predicted, merged.labels)),
    }


def _by_source(predictions: Predictions) -> dict[str, Predictions]:
    return {f".{source}": predictions.of(source) for source in sorted(set(predictions.source))}


def _seventeen(predictions: Predictions, suffix: str) -> dict[str, Figure]:
    part = judged(predictions)
    cells = Merged(
        truth=part.truth,
        predicted=part.predicted,
        confidence=part.probabilities.max(axis=1),
        group=part.group,
        labels=len(CELL_TYPES),
    )
    return _figures(cells, "", suffix)


def _eleven(predictions: Predictions, suffix: str) -> dict[str, Figure]:
    found = _figures(judged_merged(predictions, ELEVEN), "_eleven", suffix)
    if suffix == "":
        # Lyon's reactive lymphocytes are labelled by patient, so some may be ordinary ones; here none is taken to be.
        strict = predictions.allowed.copy()
        by_patient = np.array(predictions.source_label) == "reactive_lymphocyte"
        strict[by_patient, CELL_TYPES.index("lymphocyte")] = False
        found["macro_f1_eleven_strict"] = judged_merged(
            replace(predictions, allowed=strict), ELEVEN
        ).macro_f1()
    return found


def _figures(cells: Merged, over: str, suffix: str) -> dict[str, Figure]:
    if not cells.group:
        return {}
    right = cells.right
    found = {f"accuracy{over}{suffix}": by_groups(lambda rows: float(right[rows].mean()), cells.group)}
    # A source of one type has no mean over types.
    if len(set(cells.truth.tolist())) > 1:
        found[f"macro_f1{over}{suffix}"] = cells.macro_f1()
    return found


def _blasts(p: Predictions) -> dict[str, Figure]:
    """Blasts against other cells within a source. Promyelocytes, leukemic in APL only, are left out."""
    found = {}
    for name, (source, kinds) in BLAST_AGAINST_OTHER.items():
        if source in p.source:
            score, positive, groups = blast_scores(p.of(source), kinds)
            found[name] = by_groups(lambda rows, s=score, y=positive: auroc(s[rows], y[rows]), groups)  # type: ignore[misc]
    return found


def blast_scores(
    part: Predictions, kinds: tuple[str, ...]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_], tuple[str, ...]]:
    """Probability of a blast of either lineage, whether the source calls it one of `kinds`, and the group, by cell."""
    part = part.where(np.array(part.source_label) != "promyelocyte")
    return part.probability("myeloblast", "lymphoblast"), np.isin(part.source_label, kinds), part.group


def _table(labels: tuple[str, ...], matrix: npt.NDArray[np.int64]) -> dict[str, Any]:
    by_type = {}
    for i, name in enumerate(labels):
        hits, true, said = int(matrix[i, i]), int(matrix[i].sum()), int(matrix[:, i].sum())
        by_type[name] = {
            "n": true,
            "precision": round(hits / said, 4) if said else None,
            "recall": round(hits / true, 4) if true else None,
            "f1": round(2 * hits / (said + true), 4) if true else None,
        }
    return {"labels": list(labels), "by_type": by_type, "confusion": matrix.tolist()}
