"""Lymphocytosis by patient."""

from models.evaluation.patients import lymphocytosis_figures, lymphocytosis_scores
from tests.fakes.predictions import read_as


def test_a_patient_is_the_mean_of_its_cells_and_the_threshold_decides() -> None:
    told = read_as([
        ("lyon", "P1", "tumoral_lymphocyte", "cll_lymphocyte"),
        ("lyon", "P1", "tumoral_lymphocyte", "lymphocyte"),
        ("lyon", "P2", "reactive_lymphocyte", "lymphocyte"),
        ("lyon", "P2", "reactive_lymphocyte", "reactive_lymphocyte"),
        ("hopkins", "p", "lymphocyte", "cll_lymphocyte"),
    ])  # fmt: skip
    scores = lymphocytosis_scores(told)
    assert scores.patients == ("P1", "P2")
    assert scores.score.tolist() == [0.5, 0.0]
    assert scores.tumoral.tolist() == [True, False]
    assert lymphocytosis_figures(scores, 0.4)["lyon_patient_balanced_accuracy"].value == 1.0
    strict = lymphocytosis_figures(scores, 0.6)
    assert strict["lyon_patient_sensitivity"].value == 0.0
    assert strict["lyon_patient_specificity"].value == 1.0
    assert strict["lyon_patient_auroc"].value == 1.0
    assert strict["lyon_patient_auroc"].unit == "patients"


def test_without_the_source_there_is_no_figure() -> None:
    assert (
        lymphocytosis_figures(lymphocytosis_scores(read_as([("lisc", "g", "monocyte", "monocyte")])), 0.5)
        == {}
    )
