"""The bundled package: whole, honest about itself, and right about cells that this project draws."""

import json
from pathlib import Path

import numpy as np
import pytest

from models import statistics
from models.augment import centre_crop
from models.classifier import CropClassifier
from models.evaluation import measure
from models.evaluation.figures import Answers, figures_of
from models.evaluation.predictions import read_fields, read_predictions
from models.evaluation.studies import read_studies
from models.labels import CELL_TYPES
from models.package import bundled_package, load_card
from models.synthetic.canvas import random_stain
from models.synthetic.cells import draw_cell


def _listed(name: str) -> Path | None:
    """The file of that name among those that the card lists, wherever it stands."""
    folder = bundled_package()
    files = [folder / f for f in load_card(folder).document["files"] if Path(f).name == name]
    return files[0] if files else None


def test_the_card_s_figures_follow_from_the_committed_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "DRAWS", 2)  # values are compared, not intervals
    folder = bundled_package()
    card = load_card(folder)
    cells, fields, studies = _listed(measure.PREDICTIONS), _listed(measure.FIELDS), _listed(measure.STUDIES)
    left_out = _listed(measure.LEFT_OUT)
    assert cells is not None
    answers = Answers(
        cells=read_predictions(cells),
        fields=read_fields(fields) if fields else [],
        studies=read_studies(studies) if studies else [],
        left_out=read_predictions(left_out) if left_out else None,
    )
    metrics = card.document["metrics"]
    again = {name: figure for name, figure in figures_of(answers, card).items() if name in metrics}
    assert {"macro_f1", "hopkins_blast_auroc", "lyon_patient_auroc"} <= set(again)
    if studies:
        assert {"macro_f1_eleven", "five_class.balanced_accuracy", "taleqani_field_auroc"} <= set(again)
    for name, figure in again.items():
        assert metrics[name]["value"] == pytest.approx(figure.value, abs=2e-4), name
        assert metrics[name]["n"] == figure.n


def test_the_report_holds_what_the_card_states() -> None:
    path = _listed(measure.METRICS)
    if path is None:
        assert _listed("evaluation.json") is not None
    else:
        card = load_card(bundled_package()).document
        assert json.loads(path.read_text(encoding="utf-8"))["metrics"] == card["metrics"]
        page = path.with_name(measure.PAGE).read_text(encoding="utf-8")
        assert f"{card['metrics']['macro_f1_eleven']['value']:.3f}" in page


def test_the_card_names_sources_licences_baseline_and_limits() -> None:
    document = load_card(bundled_package()).document
    assert all(source["licence"] for source in document["training"]["sources"].values())
    assert document["training"]["images_by_split"]["test"] > 0
    assert "border_colour_baseline.macro_f1" in document["metrics"]
    assert any("CML was never validated" in text for text in document["limitations"])
    assert "Not a medical device" in document["intended_use"]


def test_it_names_most_drawn_cells() -> None:
    folder = bundled_package()
    card = load_card(folder)
    # Drawn lymphocytes of CLL and of health differ in degree, and so they are read.
    types = [t for t in CELL_TYPES if t not in ("lymphocyte", "cll_lymphocyte")]
    rng = np.random.default_rng(2024)
    crops = [draw_cell(t, rng, stain=random_stain(rng, spread=0.5)) for t in types for _ in range(2)]
    views = np.stack([centre_crop(c, field_px=128, size_px=card.input_px) for c in crops])
    probabilities, _ = CropClassifier(card, folder, threads=1).classify(views)
    said = [card.labels[i] for i in probabilities.argmax(axis=1)]
    right = sum(a == b for a, b in zip(said, [t for t in types for _ in range(2)], strict=True))
    assert right >= 0.75 * len(said), said
