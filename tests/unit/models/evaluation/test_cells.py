"""Figures by cell against values worked out by hand."""

import pytest

from models.evaluation.cells import cell_figures, confusions
from tests.fakes.predictions import read_as


def test_merged_types_forgive_what_laboratories_do_not_tell_apart() -> None:
    told = read_as([
        ("hopkins", "p1", "band_neutrophil", "segmented_neutrophil"),
        ("hopkins", "p1", "blast", "lymphoblast"),
        ("hopkins", "p2", "monocyte", "monocyte"),
        ("hopkins", "p2", "basophil", "eosinophil"),
    ])  # fmt: skip
    found = cell_figures(told)
    assert found["accuracy"].value == 0.25
    assert found["accuracy_eleven"].value == 0.75
    assert found["macro_f1_eleven"].value == pytest.approx(3 / 4)
    assert found["accuracy_eleven.hopkins"].n == 4


def test_labels_that_span_two_merged_types_are_judged_only_where_they_may_be() -> None:
    told = read_as([
        ("lyon", "P1", "reactive_lymphocyte", "lymphocyte"),
        ("lyon", "P2", "tumoral_lymphocyte", "cll_lymphocyte"),
        ("hopkins", "p", "variant_lymphocyte", "lymphocyte"),
    ])  # fmt: skip
    found = cell_figures(told)
    assert found["accuracy"].value == pytest.approx(
        2 / 3
    )  # either type is right for the reactive patient's cell
    assert found["accuracy_eleven"].n == 2
    assert found["accuracy_eleven"].value == 0.5
    # strictly, three atypical lymphocytes of which one is found: precision 1, recall 1/3
    assert found["macro_f1_eleven_strict"].value == pytest.approx(0.5)


def test_the_source_never_trained_on_stands_alone() -> None:
    told = read_as([
        ("cellavision_blog", "all", "lymphocyte", "cll_lymphocyte"),
        ("cellavision_blog", "all", "monocyte", "myeloblast"),
        ("cellavision_blog", "all", "neutrophil", "band_neutrophil"),
        ("lisc", "g1", "monocyte", "monocyte"),
    ])  # fmt: skip
    found = cell_figures(told)
    assert found["accuracy"].n == 1
    assert found["accuracy_five.cellavision_blog"].value == pytest.approx(2 / 3)
    assert found["accuracy_five.cellavision_blog"].interval is None
    assert sum(map(sum, confusions(told)["eleven"]["confusion"])) == 1


def test_blasts_are_told_from_other_cells_within_a_source_promyelocytes_aside() -> None:
    told = read_as([
        ("hopkins", "p1", "blast", "myeloblast"),
        ("hopkins", "p1", "promonocyte", "lymphoblast"),
        ("hopkins", "p2", "monocyte", "monocyte"),
        ("hopkins", "p2", "promyelocyte", "myeloblast"),
    ])  # fmt: skip
    figure = cell_figures(told)["hopkins_blast_auroc"]
    assert (figure.value, figure.n) == (1.0, 3)
