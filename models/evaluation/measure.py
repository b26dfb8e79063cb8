"""Measure a package on the test split, and write predictions, figures and page into its report and its card."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from cds.errors import PackageError
from models import ood
from models.classifier import CropClassifier
from models.corpus import CROP_UM_PER_PX, CellRecord, audit, label_matrix, load_crops
from models.errors import CorpusError
from models.evaluation import baselines, strain
from models.evaluation.cells import cell_figures
from models.evaluation.fields import read_test_fields
from models.evaluation.figures import Answers, figures_of
from models.evaluation.page import write_page
from models.evaluation.predictions import (
    EXTERNAL,
    Predictions,
    read_predictions,
    write_fields,
    write_predictions,
)
from models.evaluation.studies import ComposedStudy, ExpertDifferential, read_differentials, write_studies
from models.evaluation.study_figures import bootstrap_five_classes, compose_all, five_class_figures
from models.evaluation.tables import tables_of
from models.labels import CELL_TYPES
from models.package import REPORT, ModelCard, load_card, rewritten_package
from models.shifted_copies import name_of
from models.stain_normalisation import Correction, brought
from models.statistics import Figure
from models.study_stains import corrected, corrections, rows_of_studies, stored_views

log = structlog.get_logger()

COMMAND = "python -m models.evaluation --package PACKAGE --data FOLDER"
BASELINE = "border_colour_baseline"
PREDICTIONS, FIELDS, STUDIES = "predictions-test.csv", "predictions-taleqani.csv", "predictions-studies.csv"
LEFT_OUT, METRICS, PAGE = "predictions-left-out.csv", "metrics.json", "index.html"

#: Test crops in memory at once.
_CHUNK = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """attached: collections of figures by name (see `attached`). left_out: packages trained without some sources, whose
    own reports hold the predictions on them."""

    attached: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    left_out: Sequence[Path] = ()


def evaluate(
    package: Path, data: Path, records: Sequence[CellRecord], options: Options | None = None
) -> dict[str, Any]:
    """Measure a package on the records of split "test"; returns what stands in ``report/metrics.json``.

    Test cells that an attached audit (`models.shifted_copies`) names as copies of cells learnt from are left out.

    Writes ``report/`` with predictions, metrics and the page, lists them in the card's files and fills its metrics; a
    package stays as it was until all of them are ready. Raises CorpusError when the splits leak or nothing is to be
    tested, PackageError when the package is not whole or types other cells.
    """
    options = options or Options()
    audit(records)
    card = load_card(package, fitted=False)
    if card.document.get("pattern_model"):
        card = load_card(package)
    if card.labels != CELL_TYPES:
        raise PackageError(f"{package.name} tells other cell types apart than this program knows")
    copies = {n for document in options.attached.values() for n in document.get("test_copies", ())}
    tested = [r for r in records if r.split == "test" and name_of(r) not in copies]
    if not tested:
        raise CorpusError("no image is of split test")
    left_out = _left_out(options.left_out)
    classifier = CropClassifier(card, package)
    distribution = ood.load(package / card.ood_file) if card.ood_file else None
    log.info("cells", count=len(tested))
    cells = _read_cells(tested, card, classifier, distribution)
    log.info("fields")
    fields, field_embeddings = read_test_fields(data, card, classifier)
    log.info("figures")
    patients = _patients(data)
    studies = _studies(cells, patients, card)
    answers = Answers(
        cells=cells,
        fields=fields,
        studies=studies,
        left_out=left_out,
    )
    found = figures_of(answers, card)
    if studies:
        for name, interval in bootstrap_five_classes(cells, patients, card.pattern_model).items():
            if name in found:
                found[name] = replace(found[name], interval=interval)
    found |= _baselines(records, tested, data, cells, patients, card)
    log.info("strain")
    found |= _strain(tested, card, classifier)
    if distribution is not None and cells.distance is not None:
        found |= strain.stranger_figures(
            distribution,
            cells.distance[np.array(cells.source) != EXTERNAL],
            {"taleqani": field_embeddings, **strain.far_strangers(data, card, classifier)},
        )
    report = {
        "model": {"name": card.name, "version": card.version},
        "images": {"test": len(tested), "fields": len(fields), "studies": len(answers.studies)},
        "metrics": _with_origin(found) | _attached_metrics(options.attached),
        "tables": tables_of(answers, card),
        "attached": {name: dict(document) for name, document in options.attached.items()},
    }
    _write(package, card, answers, report)
    return report


def remake_page(package: Path, options: Options | None = None) -> dict[str, Any]:
    """Make the page anew from ``report/metrics.json``, with attached figures added. Raises PackageError without one."""
    card = load_card(package, fitted=False)
    path = package / REPORT / METRICS
    if not path.is_file():
        raise PackageError(f"{package.name} has no report yet: measure it first")
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    attached = (options or Options()).attached
    report["attached"] |= {name: dict(document) for name, document in attached.items()}
    report["metrics"] |= _attached_metrics(attached)
    _write(package, card, None, report)
    return report


def _read_cells(
    tested: Sequence[CellRecord],
    card: ModelCard,
    classifier: CropClassifier,
    distribution: ood.EmbeddingModel | None,
) -> Predictions:
    probabilities = np.zeros((len(tested), len(card.labels)))
    distances = np.zeros(len(tested))
    stains = _corrections(tested, card)
    for study, rows in rows_of_studies(tested).items():
        for i in range(0, len(rows), _CHUNK):
            own = rows[i : i + _CHUNK]
            views = brought(_views(load_crops([tested[r] for r in own]), card), stains[study])
            p, embeddings = classifier.classify(views)
            probabilities[own] = p.astype(np.float64).round(5)
            if distribution is not None:
                distances[own] = distribution.distance(embeddings).round(2)
    return Predictions(
        source=tuple(r.source for r in tested),
        group=tuple(r.group for r in tested),
        source_label=tuple(r.source_label for r in tested),
        allowed=label_matrix(tested),
        probabilities=probabilities,
        distance=distances if distribution is not None else None,
    )


def _views(crops: npt.NDArray[np.uint8], card: ModelCard) -> npt.NDArray[np.uint8]:
    return stored_views(crops, card.input_px, card.input_um_per_px)


def _corrections(tested: Sequence[CellRecord], card: ModelCard) -> dict[str, Correction]:
    """What brings each test study to the card's stain."""

    def load(rows: Sequence[int]) -> npt.NDArray[np.uint8]:
        return _views(load_crops([tested[r] for r in rows]), card)

    return corrections(rows_of_studies(tested), load, card.stain)


def _patients(data: Path) -> list[ExpertDifferential]:
    table = data / "differentials-hopkins.csv"
    return read_differentials(table, "test") if table.is_file() else []


def _studies(
    cells: Predictions, patients: Sequence[ExpertDifferential], card: ModelCard
) -> list[ComposedStudy]:
    """Studies composed of the cells; none without a pattern model to read them, or where the corpus lacks a type."""
    if not card.pattern_model.features:
        return []
    try:
        return compose_all(cells, patients)
    except CorpusError as error:
        log.warning("no studies are composed", reason=str(error))
        return []


def _left_out(packages: Sequence[Path]) -> Predictions | None:
    parts = []
    for package in packages:
        card = load_card(package, fitted=False)
        sources = card.document.get("training", {}).get("left_out") or []
        stored = package / REPORT / PREDICTIONS
        if not sources or not stored.is_file():
            raise PackageError(
                f"{package.name} must name training.left_out in its card and have a report of its own"
            )
        parts.append(read_predictions(stored).of(*sources))
    if not parts:
        return None
    return Predictions(
        source=tuple(s for p in parts for s in p.source),
        group=tuple(g for p in parts for g in p.group),
        source_label=tuple(n for p in parts for n in p.source_label),
        allowed=np.concatenate([p.allowed for p in parts]),
        probabilities=np.concatenate([p.probabilities for p in parts]),
    )


def _baselines(
    records: Sequence[CellRecord],
    tested: Sequence[CellRecord],
    data: Path,
    cells: Predictions,
    patients: Sequence[ExpertDifferential],
    card: ModelCard,
) -> dict[str, Figure]:
    taught = [r for r in records if r.split == "train"]
    if not taught:
        return {}
    features, asked = baselines.features_of(taught), baselines.features_of(tested)
    guessed = baselines.baseline_predictions(taught, features, cells, asked)
    found = {
        name: figure
        for name, figure in cell_figures(guessed).items()
        if name.startswith(("accuracy", "macro_f1")) and not name.endswith("_strict")
    }
    found |= baselines.within_source_figures(taught, features, cells, asked)
    found |= baselines.field_figures(data)
    found |= five_class_figures(_studies(guessed, patients, card), card.pattern_model)
    return {f"{BASELINE}.{name}": figure for name, figure in found.items()}


def _strain(tested: Sequence[CellRecord], card: ModelCard, classifier: CropClassifier) -> dict[str, Figure]:
    rows = strain.sample_rows(label_matrix(tested))
    chosen = [tested[i] for i in rows]
    if not chosen:
        return {}
    # Each cell keeps the correction of its study: the strain is its own, and nobody else's cells tell of it.
    studies, stains = rows_of_studies(chosen), _corrections(tested, card)
    return strain.robustness_figures(
        strain.sample_of(load_crops(chosen), chosen),
        lambda crops: classifier.classify(corrected(_views(crops, card), studies, stains))[0],
        CROP_UM_PER_PX,
    )


def _with_origin(found: Mapping[str, Figure]) -> dict[str, dict[str, Any]]:
    metrics = {}
    for name, figure in found.items():
        command = f"{COMMAND} --left-out PACKAGE" if name.startswith("left_out.") else COMMAND
        metrics[name] = figure.as_json() | {"split": "test", "command": command}
        if f"{BASELINE}.{name}" in found:
            metrics[name]["baseline"] = f"{BASELINE}.{name}"
    return metrics


def _attached_metrics(attached: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        f"{of}.{name}": {**figure, "command": document["command"]}
        for of, document in attached.items()
        for name, figure in document["figures"].items()
    }


def _write(package: Path, card: ModelCard, answers: Answers | None, report: dict[str, Any]) -> None:
    """The package with its report and metrics, replaced whole; without answers the predictions that it held stay."""
    kept = {} if answers is not None else {p.name: p.read_bytes() for p in (package / REPORT).glob("*.csv")}
    with rewritten_package(package) as (copy, document):
        folder = copy / REPORT
        folder.mkdir()
        for name, content in kept.items():
            (folder / name).write_bytes(content)
        if answers is not None:
            write_predictions(answers.cells, folder / PREDICTIONS)
            if answers.fields:
                write_fields(answers.fields, folder / FIELDS)
            if answers.studies:
                write_studies(answers.studies, folder / STUDIES)
            if answers.left_out is not None:
                write_predictions(answers.left_out, folder / LEFT_OUT)
        text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
        (folder / METRICS).write_text(text, encoding="utf-8")
        document["metrics"] = report["metrics"]
        write_page(folder / PAGE, document, report)
