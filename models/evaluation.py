"""Honest figures of a package: predictions on the test split, metrics with intervals, the baseline without a cell."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from models.augment import centre_crop
from models.baseline import border_features, fit_logistic
from models.classifier import CropClassifier
from models.corpus import (
    CROP_UM_PER_PX,
    CellRecord,
    audit,
    label_matrix,
    load_crops,
    read_corpus,
    with_validation,
)
from models.labels import CELL_TYPES
from models.ood import EmbeddingModel, load
from models.package import file_digest, load_card
from models.statistics import (
    Figure,
    auroc,
    balanced_accuracy,
    by_groups,
    calibration_error,
    confusion,
    macro_f1,
)

#: A source that was never trained on; its accuracy stands alone, never in a pooled figure.
EXTERNAL = "cellavision_blog"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What a package said about labelled cells: probabilities ``(n, labels)`` in the order of CELL_TYPES."""

    source: tuple[str, ...]
    group: tuple[str, ...]
    source_label: tuple[str, ...]
    allowed: npt.NDArray[np.bool_]
    probabilities: Floats

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        best: npt.NDArray[np.int64] = self.probabilities.argmax(axis=1).astype(np.int64)
        return best

    @property
    def truth(self) -> npt.NDArray[np.int64]:
        """The true type; where the label allows several, the predicted one if it is among them, else the first."""
        predicted = self.predicted
        fits = self.allowed[np.arange(len(predicted)), predicted]
        true: npt.NDArray[np.int64] = np.where(fits, predicted, self.allowed.argmax(axis=1)).astype(np.int64)
        return true

    def where(self, mask: npt.NDArray[np.bool_]) -> "Predictions":
        rows = np.flatnonzero(mask)
        return Predictions(
            source=tuple(self.source[i] for i in rows),
            group=tuple(self.group[i] for i in rows),
            source_label=tuple(self.source_label[i] for i in rows),
            allowed=self.allowed[rows],
            probabilities=self.probabilities[rows],
        )

    def probability(self, *types: str) -> Floats:
        total: Floats = self.probabilities[:, [CELL_TYPES.index(t) for t in types]].sum(axis=1)
        return total


def figures(predictions: Predictions) -> dict[str, Figure]:
    """The figures that need nothing but predictions, so that a reader can compute them again from the file."""
    source = np.array(predictions.source)
    # Partial labels of more than two types say too little to be right or wrong by.
    judged = predictions.where((source != EXTERNAL) & (predictions.allowed.sum(axis=1) <= 2))
    found = {
        "macro_f1": by_groups(_macro_f1_of(judged), judged.group),
        "accuracy": by_groups(_accuracy_of(judged), judged.group),
        "calibration_error": _calibration(judged),
    }
    for name in sorted(set(predictions.source)):
        part = predictions.where((source == name) & (predictions.allowed.sum(axis=1) <= 2))
        found[f"accuracy.{name}"] = by_groups(_accuracy_of(part), part.group)
        if name != "lyon":
            found[f"macro_f1.{name}"] = by_groups(_macro_f1_of(part), part.group)
    found |= _blasts(predictions) | _lymphocytosis(predictions)
    return found


def evaluate(package: Path, records: Sequence[CellRecord]) -> dict[str, Any]:
    """Measure a package on the records of split "test"; write predictions and figures into the package and its card.

    Writes ``predictions-test.csv`` and ``evaluation.json``, lists both in the card's files and fills its metrics.
    Raises CorpusError when the splits leak.
    """
    audit(records)
    loaded = load_card(package, fitted=False)
    tested = [r for r in records if r.split == "test"]
    crops = load_crops(tested)
    field_px = round(loaded.input_um_per_px * loaded.input_px / CROP_UM_PER_PX)
    views = np.stack([centre_crop(c, field_px=field_px, size_px=loaded.input_px) for c in crops])
    probabilities, embeddings = CropClassifier(loaded, package).classify(views)
    predictions = Predictions(
        source=tuple(r.source for r in tested),
        group=tuple(r.group for r in tested),
        source_label=tuple(r.source_label for r in tested),
        allowed=label_matrix(tested),
        probabilities=probabilities.astype(np.float64).round(5),
    )
    write_predictions(predictions, package / "predictions-test.csv")
    found = figures(predictions) | _baseline(records, tested, crops)
    if loaded.ood_file is not None:
        found |= _refusals(load(package / loaded.ood_file), tested, embeddings)
    card = dict(loaded.document)
    command = "python -m models.evaluation --package PACKAGE --data FOLDER"
    card["metrics"] = {name: _as_json(figure) | {"command": command} for name, figure in found.items()}
    report = {
        "model": {k: card[k] for k in ("name", "version")},
        "metrics": card["metrics"],
        **_tables(predictions),
    }
    (package / "evaluation.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    written = ("predictions-test.csv", "evaluation.json")
    card["files"] = {**card["files"], **{name: file_digest(package / name) for name in written}}
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    (package / "card.json").write_text(text, encoding="utf-8")
    return report


def write_predictions(predictions: Predictions, path: Path) -> None:
    """One row per cell: source, group, the source's label and the probability of each type."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["source", "group", "source_label", "allowed", *CELL_TYPES])
        for i, probabilities in enumerate(predictions.probabilities):
            allowed = "|".join(t for t, yes in zip(CELL_TYPES, predictions.allowed[i], strict=True) if yes)
            numbers = [f"{p:.5f}".rstrip("0").rstrip(".") for p in probabilities]
            writer.writerow(
                [predictions.source[i], predictions.group[i], predictions.source_label[i], allowed, *numbers]
            )


def read_predictions(path: Path) -> Predictions:
    """The file that `write_predictions` wrote."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return Predictions(
        source=tuple(r["source"] for r in rows),
        group=tuple(r["group"] for r in rows),
        source_label=tuple(r["source_label"] for r in rows),
        allowed=np.array([[t in r["allowed"].split("|") for t in CELL_TYPES] for r in rows]),
        probabilities=np.array([[float(r[t]) for t in CELL_TYPES] for r in rows]),
    )


def _macro_f1_of(p: Predictions) -> Any:
    truth, predicted = p.truth, p.predicted
    return lambda rows: macro_f1(confusion(truth[rows], predicted[rows], len(CELL_TYPES)))


def _accuracy_of(p: Predictions) -> Any:
    right = p.truth == p.predicted
    return lambda rows: float(right[rows].mean())


def _calibration(p: Predictions) -> Figure:
    confidence, right = p.probabilities.max(axis=1), p.truth == p.predicted
    return by_groups(lambda rows: calibration_error(confidence[rows], right[rows]), p.group)


def _blasts(p: Predictions) -> dict[str, Figure]:
    """Blasts against other cells, within Hopkins and within ALL-IDB2. Promyelocytes, leukemic in APL, are left out."""
    labels = np.array(p.source_label)
    found = {}
    for name, source, kinds in (
        ("hopkins_blast_auroc", "hopkins", ["blast", "promonocyte"]),
        ("allidb2_lymphoblast_auroc", "allidb2", ["lymphoblast"]),
    ):
        part = p.where((np.array(p.source) == source) & (labels != "promyelocyte"))
        positive = np.isin(np.array(part.source_label), kinds)
        score = part.probability("myeloblast", "lymphoblast")
        found[name] = by_groups(lambda rows, s=score, y=positive: auroc(s[rows], y[rows]), part.group)  # type: ignore[misc]
    return found


def _lymphocytosis(p: Predictions) -> dict[str, Figure]:
    """Lyon by patient: the mean share of CLL-like among lymphoid probability, against the patient's diagnosis."""
    part = p.where(np.array(p.source) == "lyon")
    share = part.probability("cll_lymphocyte") / np.maximum(
        part.probability("cll_lymphocyte", "lymphocyte", "reactive_lymphocyte"), 1e-6
    )
    patients = sorted(set(part.group))
    groups = np.array(part.group)
    score = np.array([share[groups == patient].mean() for patient in patients])
    tumoral = np.array(
        [
            part.source_label[int(np.flatnonzero(groups == patient)[0])] == "tumoral_lymphocyte"
            for patient in patients
        ]
    )
    return {
        "lyon_patient_auroc": by_groups(lambda rows: auroc(score[rows], tumoral[rows]), patients),
        "lyon_patient_balanced_accuracy": by_groups(
            lambda rows: balanced_accuracy(score[rows] > 0.5, tumoral[rows]), patients
        ),
    }


def _baseline(
    records: Sequence[CellRecord], tested: Sequence[CellRecord], crops: npt.NDArray[np.uint8]
) -> dict[str, Figure]:
    """What the colour of the border alone gives, with no cell in view: the figure to read the others against."""
    taught = [r for r in records if r.split == "train" and len(r.allowed) <= 2]
    judged = [i for i, r in enumerate(tested) if r.source != EXTERNAL and len(r.allowed) <= 2]
    predict = fit_logistic(
        border_features(load_crops(taught)),
        np.array([CELL_TYPES.index(r.label) for r in taught]),
        len(CELL_TYPES),
    )
    probabilities = predict(border_features(crops[judged]))
    p = Predictions(
        source=tuple(tested[i].source for i in judged),
        group=tuple(tested[i].group for i in judged),
        source_label=tuple(tested[i].source_label for i in judged),
        allowed=label_matrix([tested[i] for i in judged]),
        probabilities=probabilities,
    )
    found = {
        "border_colour_baseline.macro_f1": by_groups(_macro_f1_of(p), p.group),
        "border_colour_baseline.accuracy": by_groups(_accuracy_of(p), p.group),
    }
    lyon = [r for r in taught if r.source == "lyon"]
    within = fit_logistic(
        border_features(load_crops(lyon)),
        np.array([int(r.source_label == "tumoral_lymphocyte") for r in lyon]),
        2,
    )
    own = np.array([i for i, r in enumerate(tested) if r.source == "lyon"])
    score = within(border_features(crops[own]))[:, 1]
    groups = np.array([tested[i].group for i in own])
    patients = sorted(set(groups))
    by_patient = np.array([score[groups == g].mean() for g in patients])
    tumoral = np.array(
        [tested[own[np.flatnonzero(groups == g)[0]]].source_label == "tumoral_lymphocyte" for g in patients]
    )
    found["border_colour_baseline.lyon_patient_auroc"] = by_groups(
        lambda rows: auroc(by_patient[rows], tumoral[rows]), patients
    )
    return found


def _refusals(
    model: EmbeddingModel, tested: Sequence[CellRecord], embeddings: npt.NDArray[np.float32]
) -> dict[str, Figure]:
    """Share of test cells beyond the out-of-distribution threshold; those of sources trained on should be few."""
    beyond = model.distance(embeddings) > model.threshold
    known = np.array([r.source != EXTERNAL for r in tested])
    found = {}
    for name, mask in (
        ("out_of_distribution.known_sources", known),
        (f"out_of_distribution.{EXTERNAL}", ~known),
    ):
        part, groups = beyond[mask], [r.group for r, yes in zip(tested, mask, strict=True) if yes]
        found[name] = by_groups(lambda rows, b=part: float(b[rows].mean()), groups)  # type: ignore[misc]
    return found


def _tables(p: Predictions) -> dict[str, Any]:
    """Confusion counts (rows truth, columns predicted) and precision, recall and F1 by type, without the external."""
    judged = p.where((np.array(p.source) != EXTERNAL) & (p.allowed.sum(axis=1) <= 2))
    matrix = confusion(judged.truth, judged.predicted, len(CELL_TYPES))
    by_type = {}
    for i, name in enumerate(CELL_TYPES):
        hits, true, said = int(matrix[i, i]), int(matrix[i].sum()), int(matrix[:, i].sum())
        by_type[name] = {
            "n": true,
            "precision": round(hits / said, 4) if said else None,
            "recall": round(hits / true, 4) if true else None,
            "f1": round(2 * hits / (said + true), 4) if true else None,
        }
    return {"labels": list(CELL_TYPES), "by_type": by_type, "confusion": matrix.tolist()}


def _as_json(figure: Figure) -> dict[str, Any]:
    interval = [round(v, 4) for v in figure.interval] if figure.interval else None
    return {"value": round(figure.value, 4), "interval": interval, "n": figure.n}


@click.command()
@click.option(
    "--package", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of the package."
)
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of manifest.csv."
)
def main(package: Path, data: Path) -> None:
    """Measure PACKAGE on the test split of DATA and write the figures into it."""
    report = evaluate(package, with_validation(read_corpus(data)))
    for name, figure in report["metrics"].items():
        click.echo(f"{name}: {figure['value']} {figure['interval'] or ''} (n = {figure['n']})")


if __name__ == "__main__":
    main()
