"""Whether a probability means what it says, what leaving unsure cells out gains, and what looks unlike training."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.evaluation.cells import judged, judged_merged, pooled
from models.evaluation.predictions import EXTERNAL, Predictions
from models.merging import ELEVEN
from models.statistics import (
    Figure,
    area_under_risk_coverage,
    auroc,
    brier_score,
    by_groups,
    calibration_error,
    softmax,
)

#: Share of the cells that are kept for `selective.accuracy_at_80`.
_COVERAGE = 0.8
#: Probabilities are stored with five decimals; a zero is taken as less than that.
_LEAST = 2e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Confidences:
    """The highest probability of each cell ``(n,)`` and whether that type is right, over seventeen types."""

    after: npt.NDArray[np.float64]
    before: npt.NDArray[np.float64]
    right: npt.NDArray[np.bool_]
    group: tuple[str, ...]


def before_temperature(probabilities: npt.NDArray[np.float64], temperature: float) -> npt.NDArray[np.float64]:
    """Probabilities as they were without temperature scaling, from the scaled ones: logits are T log p and a constant.

    Probabilities are means over two views of a cell, so this is the mean's own scaling undone, not each view's.
    """
    return softmax(temperature * np.log(np.maximum(probabilities, _LEAST)))


def confidences(predictions: Predictions, temperature: float) -> Confidences:
    """Of the pooled cells, each source's among them but the external one's."""
    part = judged(pooled(predictions))
    return Confidences(
        after=part.probabilities.max(axis=1),
        before=before_temperature(part.probabilities, temperature).max(axis=1),
        right=part.truth == part.predicted,
        group=part.group,
    )


def calibration_figures(predictions: Predictions, temperature: float) -> dict[str, Figure]:
    """ECE and Brier score before and after temperature; risk and coverage over seventeen and eleven types."""
    part = judged(pooled(predictions))
    c = confidences(predictions, temperature)
    after = brier_score(part.probabilities, part.allowed)
    before = brier_score(before_temperature(part.probabilities, temperature), part.allowed)
    merged = judged_merged(pooled(predictions), ELEVEN)
    sure, right, groups = merged.confidence, merged.right, merged.group
    return {
        "calibration_error": by_groups(lambda r: calibration_error(c.after[r], c.right[r]), c.group),
        "calibration_error_before_temperature": by_groups(
            lambda r: calibration_error(c.before[r], c.right[r]), c.group
        ),
        "calibration_error_eleven": by_groups(lambda r: calibration_error(sure[r], right[r]), groups),
        "brier_score": by_groups(lambda r: float(after[r].mean()), c.group),
        "brier_score_before_temperature": by_groups(lambda r: float(before[r].mean()), c.group),
        "selective.aurc": by_groups(lambda r: area_under_risk_coverage(c.after[r], c.right[r]), c.group),
        "selective.aurc_eleven": by_groups(lambda r: area_under_risk_coverage(sure[r], right[r]), groups),
        "selective.accuracy_eleven_at_80": by_groups(lambda r: _surest(sure[r], right[r], _COVERAGE), groups),
    }


def external_distance_figures(predictions: Predictions, threshold: float) -> dict[str, Figure]:
    """How far cells lie from the training cells: share beyond the card's threshold, and whether the laboratory that was
    never trained on can be told by it. Empty where the predictions have no distances."""
    if predictions.distance is None:
        return {}
    distance = predictions.distance
    beyond = distance > threshold
    external = np.array(predictions.source) == EXTERNAL
    groups = np.array(predictions.group)
    found = {}
    for name, mask in (("known_sources", ~external), (EXTERNAL, external)):
        found[f"out_of_distribution.{name}"] = by_groups(
            lambda r, b=beyond[mask]: float(b[r].mean()),  # type: ignore[misc]
            groups[mask].tolist(),
        )
    if external.any():
        found[f"out_of_distribution.auroc.{EXTERNAL}"] = by_groups(
            lambda r: auroc(distance[r], external[r]), predictions.group
        )
    return found


def _surest(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.bool_], coverage: float) -> float:
    kept = max(1, round(coverage * len(confidence)))
    return float(right[np.argsort(-confidence, kind="stable")[:kept]].mean())
