"""Fit the pattern model of a package, and write it into its card.

Studies are composed from training patients' proportions of cells, and read with the network's own errors as they were
measured on validation groups, group by group: a patient's cells are misread alike. On the differentials that come out a
multinomial logistic regression is fitted. Nothing of the test split is used.

    python -m models.patterns PACKAGE --corpus FOLDER
"""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from cds.cell_types import OUTSIDE_DIFFERENTIAL
from cds.errors import LeukoError
from cds.interpret import class_probabilities, decide, feature
from cds.values import CLASSES, Differential, PatternModel
from models.classifier import CropClassifier
from models.compositions import DIFFERENTIALS, Shares, aml_patients, draw_shares
from models.corpus import CellRecord, load_crops, read_corpus, with_validation
from models.package import ModelCard, load_card, rewritten_package
from models.study_stains import corrected, corrections, rows_of_studies, stored_views
from models.weak_labels import weak_cells

FEATURES = (
    "root:myeloblasts", "share:myeloblasts", "root:lymphoblasts", "share:lymphoblasts", "root:promyelocytes",
    "root:later_precursors", "share:later_precursors", "root:cll_lymphocytes", "share:cll_lymphocytes",
    "root:basophils", "share:reactive_lymphocytes", "share:lymphocytes", "share:monocytes",
    "share:mature_granulocytes", "smudges",
)  # fmt: skip
#: Limits that no fit decides. blasts_acute is where ICC 2022 begins to name AML, lymphoblasts_acute where most ALL
#: protocols do: hematogones, benign precursors of B cells, look like lymphoblasts. min_probability and blasts_abnormal
#: were chosen on composed studies with the reading errors of validation groups; what cll_among_lymphocytes
#: would give and cost stands in docs/decisions/0036.
LIMITS: dict[str, Any] = {
    "min_cells": 10,
    "min_probability": 0.6,
    "blasts_acute": 0.10,
    "lymphoblasts_acute": 0.25,
    "blasts_abnormal": 0.010,
    "min_blasts": 5,
    "promyelocytes_apl": 0.20,
    "cll_among_lymphocytes": 0.0,
    "healthy_upper": {
        "mature_lymphocytes": 0.65, "monocytes": 0.20, "precursors": 0.05, "basophils": 0.04, "eosinophils": 0.20,
    },
}  # fmt: skip

_SMALLEST_GROUP = 6


@dataclass(frozen=True, slots=True, eq=False)
class ReadingErrors:
    """How the network reads cells of a true type: rows of probabilities over `labels`, one row per validation group
    that holds enough of them, and one over all."""

    labels: tuple[str, ...]
    overall: dict[str, npt.NDArray[np.float64]]
    by_group: dict[str, list[npt.NDArray[np.float64]]]

    def draw_row(self, cell_type: str, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """One patient's row: half what that type is read as on the whole, half as in some group."""
        groups = self.by_group.get(cell_type)
        if not groups:
            return self.overall[cell_type]
        return np.asarray((self.overall[cell_type] + groups[int(rng.integers(len(groups)))]) / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """studies: composed per class; cells: fewest and most in a study; decay: L2 penalty on the weights."""

    studies: int = 1500
    cells: tuple[int, int] = (10, 200)
    decay: float = 1e-4
    steps: int = 3000
    rate: float = 0.1
    seed: int = 11
    features: tuple[str, ...] = field(default=FEATURES)


def measure_errors(
    records: Sequence[CellRecord],
    classifier: CropClassifier,
    card: ModelCard,
    *,
    weak: Sequence[tuple[Sequence[CellRecord], npt.NDArray[np.uint8]]] = (),
) -> ReadingErrors:
    """Read every validation cell once whose label allows at most two types (the first counts as its type), and the
    weakly labelled ones of a single type."""
    taken = [r for r in records if r.split == "validation" and len(r.allowed) <= 2]
    crops = [load_crops(taken)]
    for cells, pixels in weak:
        kept = [i for i, r in enumerate(cells) if r.split == "validation" and len(r.allowed) == 1]
        taken, crops = [*taken, *(cells[i] for i in kept)], [*crops, pixels[kept]]
    views = stored_views(np.concatenate(crops), card.input_px, card.input_um_per_px)
    rows = rows_of_studies(taken)
    stains = corrections(rows, lambda own: views[list(own)], card.stain)
    probabilities, _ = classifier.classify(corrected(views, rows, stains))
    votes = np.eye(len(card.labels))[probabilities.argmax(axis=1)]
    return tabulate(card.labels, [(r.label, r.group) for r in taken], votes)


def tabulate(
    labels: Sequence[str], truths: Sequence[tuple[str, str]], votes: npt.NDArray[np.float64]
) -> ReadingErrors:
    """truths: true type and group of each cell; votes: one-hot ``(n, labels)``."""
    of_type: dict[str, list[int]] = defaultdict(list)
    of_group: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, (cell_type, group) in enumerate(truths):
        of_type[cell_type].append(i)
        of_group[cell_type, group].append(i)
    overall = {}
    for index, cell_type in enumerate(labels):
        # Two imagined cells read rightly, one read as anything: no error is impossible, none certain.
        counts = votes[of_type[cell_type]].sum(axis=0) + 1.0 / len(labels)
        counts[index] += 2.0
        overall[cell_type] = counts / counts.sum()
    by_group: dict[str, list[npt.NDArray[np.float64]]] = defaultdict(list)
    for (cell_type, _), members in of_group.items():
        if len(members) >= _SMALLEST_GROUP:
            by_group[cell_type].append(votes[members].mean(axis=0))
    return ReadingErrors(tuple(labels), overall, dict(by_group))


def compose(
    config: FitConfig, errors: ReadingErrors, aml: Sequence[Shares], rng: np.random.Generator
) -> tuple[list[Differential], npt.NDArray[np.int64]]:
    """Differentials as the network would read them, with the index of each one's class in CLASSES."""
    differentials, classes = [], []
    low, high = np.log(config.cells[0]), np.log(config.cells[1])
    for _ in range(config.studies):
        for index, pattern in enumerate(CLASSES):
            count = round(float(np.exp(rng.uniform(low, high))))
            differentials.append(_read_study(draw_shares(pattern, rng, aml), count, errors, rng))
            classes.append(index)
    kept = [i for i, d in enumerate(differentials) if d.total >= config.cells[0] / 2]
    return [differentials[i] for i in kept], np.array([classes[i] for i in kept])


def fit(
    differentials: Sequence[Differential], classes: npt.NDArray[np.int64], config: FitConfig
) -> PatternModel:
    """Multinomial logistic regression with an L2 penalty, by full-batch Adam."""
    x = np.array([[feature(name, d) for name in config.features] for d in differentials])
    target = np.eye(len(CLASSES))[classes]
    weights = np.zeros((x.shape[1] + 1, len(CLASSES)))
    x = np.hstack([x, np.ones((len(x), 1))])
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, config.steps + 1):
        logits = x @ weights
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        gradient = x.T @ (p - target) / len(x)
        gradient[:-1] += config.decay * weights[:-1]
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        scale = np.sqrt(second / (1 - 0.999**step)) + 1e-8
        weights -= config.rate * (1 - step / (config.steps + 1)) * first / (1 - 0.9**step) / scale
    rounded = np.round(weights, 5)
    return PatternModel(
        features=config.features,
        weights=tuple(tuple(row) for row in rounded[:-1].T.tolist()),
        bias=tuple(rounded[-1].tolist()),
        **{**LIMITS, "healthy_upper": tuple(LIMITS["healthy_upper"].items())},
    )


def accuracy_by_class(
    model: PatternModel, differentials: Sequence[Differential], classes: npt.NDArray[np.int64]
) -> dict[str, float]:
    """Share of each class's studies whose most probable class is the right one."""
    found = []
    for differential in differentials:
        probabilities = class_probabilities(differential, model)
        found.append(max(range(len(CLASSES)), key=lambda i: probabilities[CLASSES[i]]))
    right = np.array(found) == classes
    return {str(c): round(float(right[classes == i].mean()), 4) for i, c in enumerate(CLASSES)}


def named_by_class(
    model: PatternModel, differentials: Sequence[Differential], classes: npt.NDArray[np.int64]
) -> dict[str, dict[str, int]]:
    """How many of each class's studies get which pattern after the rules, indeterminate among them."""
    named: dict[str, Counter[str]] = {str(c): Counter() for c in CLASSES}
    for differential, index in zip(differentials, classes.tolist(), strict=True):
        pattern, _ = decide(differential, class_probabilities(differential, model), model)
        named[str(CLASSES[index])][str(pattern)] += 1
    return {c: dict(counts.most_common()) for c, counts in named.items()}


def write_pattern_model(folder: Path, corpus: Path, config: FitConfig | None = None) -> dict[str, Any]:
    """Fit on the network's validation errors and write `pattern_model` into the card; returns that section.

    The package is replaced whole, and what was measured with the pattern model of before is left out: report and
    metrics. Raises PackageError or CorpusError.
    """
    config = config or FitConfig()
    card = load_card(folder, fitted=False)
    aml = aml_patients(corpus / DIFFERENTIALS)
    # A package that never saw a source is not fitted on it either.
    unseen = set(card.document.get("training", {}).get("left_out") or ())
    records = [r for r in with_validation(read_corpus(corpus)) if r.source not in unseen]
    weak = [(cells, crops) for cells, crops in weak_cells(corpus) if not unseen & {r.source for r in cells}]
    errors = measure_errors(records, CropClassifier(card, folder), card, weak=weak)
    rng = np.random.default_rng(config.seed)
    model = fit(*compose(config, errors, aml, rng), config)
    fresh = compose(FitConfig(studies=400, cells=config.cells), errors, aml, rng)
    section = {
        **asdict(model),
        "healthy_upper": dict(model.healthy_upper),
        "fit": {
            "studies_per_class": config.studies,
            "cells_per_study": list(config.cells),
            "l2": config.decay,
            "aml_patients": len(aml),
            "accuracy_on_composed_studies": accuracy_by_class(model, *fresh),
            "named_on_composed_studies": named_by_class(model, *fresh),
            "sources": "AML: differentials of training patients with at least 20 % leukemic cells. Healthy, infection, "
            "viral lymphocytosis, ALL, CLL: ranges of the literature. CML: Spiers 1977; no CML patient was seen. "
            "Reading errors: the network's on validation groups.",
        },
    }
    with rewritten_package(folder) as (_, document):
        document["pattern_model"] = section
    load_card(folder)
    return section


def _read_study(shares: Shares, count: int, errors: ReadingErrors, rng: np.random.Generator) -> Differential:
    types = list(shares)
    truth = rng.multinomial(count, [shares[t] for t in types])
    read = sum(
        rng.multinomial(n, errors.draw_row(t, rng)) for t, n in zip(types, truth.tolist(), strict=True) if n
    )
    counts = {
        label: int(n)
        for label, n in zip(errors.labels, np.asarray(read).tolist(), strict=True)
        if label != "not_a_cell"
    }
    return Differential(
        {t: n for t, n in counts.items() if t not in OUTSIDE_DIFFERENTIAL},
        {t: n for t, n in counts.items() if t in OUTSIDE_DIFFERENTIAL},
    )


@click.command()
@click.argument("package", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--corpus", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
def main(package: Path, corpus: Path) -> None:
    """Fit the pattern model of PACKAGE and write it into its card."""
    try:
        section = write_pattern_model(package, corpus)
    except LeukoError as error:
        raise click.ClickException(str(error)) from error
    click.echo(json.dumps(section["fit"], indent=2))


if __name__ == "__main__":
    main()
