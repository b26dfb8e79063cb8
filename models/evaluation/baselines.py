"""What the colour of a crop's border gives, with no cell in view: the figures to read the others against."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.baseline import border_features, fit_logistic
from models.corpus import CellRecord, load_crops, load_pixels
from models.evaluation.cells import BLAST_AGAINST_OTHER
from models.evaluation.fields import labelled_fields
from models.evaluation.patients import TUMORAL, by_patient
from models.evaluation.predictions import Predictions
from models.labels import CELL_TYPES
from models.statistics import Figure, auroc, balanced_accuracy, by_groups

Floats = npt.NDArray[np.float64]

#: Images in memory at once.
_CHUNK = 500


def features_of(records: Sequence[CellRecord]) -> Floats:
    """`border_features` of stored crops ``(n, 9)``."""
    parts = [border_features(load_crops(records[i : i + _CHUNK])) for i in range(0, len(records), _CHUNK)]
    return np.concatenate(parts) if parts else np.zeros((0, 9))


def baseline_predictions(
    taught: Sequence[CellRecord], taught_features: Floats, predictions: Predictions, tested_features: Floats
) -> Predictions:
    """The test cells again, typed by their border's colour alone."""
    useful = [i for i, r in enumerate(taught) if len(r.allowed) <= 2]
    predict = fit_logistic(
        taught_features[useful],
        np.array([CELL_TYPES.index(taught[i].label) for i in useful]),
        len(CELL_TYPES),
    )
    return Predictions(
        source=predictions.source,
        group=predictions.group,
        source_label=predictions.source_label,
        allowed=predictions.allowed,
        probabilities=predict(tested_features),
    )


def within_source_figures(
    taught: Sequence[CellRecord], taught_features: Floats, predictions: Predictions, tested_features: Floats
) -> dict[str, Figure]:
    """Blasts against other cells, and tumoral against reactive patients, each taught and asked within one source."""
    found: dict[str, Figure] = {}
    source = np.array(predictions.source)
    labels = np.array(predictions.source_label)
    for name, (of, kinds) in BLAST_AGAINST_OTHER.items():
        own = [i for i, r in enumerate(taught) if r.source == of and r.source_label != "promyelocyte"]
        asked = np.flatnonzero((source == of) & (labels != "promyelocyte"))
        positive = np.array([taught[i].source_label in kinds for i in own])
        if len(asked) and positive.any() and not positive.all():
            score = fit_logistic(taught_features[own], positive.astype(np.int64), 2)(tested_features[asked])
            truth = np.isin(labels[asked], kinds)
            found[name] = by_groups(
                lambda r, s=score[:, 1], y=truth: auroc(s[r], y[r]),  # type: ignore[misc]
                [predictions.group[i] for i in asked],
            )
    own = [i for i, r in enumerate(taught) if r.source == "lyon"]
    asked = np.flatnonzero(source == "lyon")
    if own and len(asked):
        tumoral = np.array([int(taught[i].source_label == TUMORAL) for i in own])
        score = fit_logistic(taught_features[own], tumoral, 2)(tested_features[asked])[:, 1]
        scores = by_patient(score, tuple(predictions.group[i] for i in asked), tuple(labels[asked].tolist()))
        found["lyon_patient_auroc"] = by_groups(
            lambda r: auroc(scores.score[r], scores.tumoral[r]), scores.patients, unit="patients"
        )
        found["lyon_patient_balanced_accuracy"] = by_groups(
            lambda r: balanced_accuracy(scores.score[r] > 0.5, scores.tumoral[r]),
            scores.patients,
            unit="patients",
        )
    return found


def field_figures(data: Path) -> dict[str, Figure]:
    """ALL against benign by the border of taleqani's fields, taught on its training fields; empty without fields."""
    taught, asked = labelled_fields(data, "train"), labelled_fields(data, "test")
    if not taught or not asked:
        return {}
    features = [
        np.concatenate([border_features(load_pixels(data / r["file"])[None]) for r in rows])
        for rows in (taught, asked)
    ]
    ill = np.array([int(r["disease"] == "ALL") for r in taught])
    score = fit_logistic(features[0], ill, 2)(features[1])[:, 1]
    truth = np.array([r["disease"] == "ALL" for r in asked])
    groups = [r["group"] for r in asked]
    return {
        "taleqani_field_auroc": by_groups(lambda r: auroc(score[r], truth[r]), groups, unit="fields"),
    }
