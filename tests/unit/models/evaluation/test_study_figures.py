"""Figures over composed studies."""

from dataclasses import replace

import pytest

from cds.values import PatternModel
from models.evaluation.predictions import FieldReading
from models.evaluation.studies import ComposedStudy
from models.evaluation.study_figures import (
    block_figures,
    bootstrap_five_classes,
    five_class_table,
    five_class_values,
    study_figures,
)
from models.labels import CELL_TYPES
from models.package import pattern_model_from
from tests.fakes.predictions import CELLS, PATIENTS, read_as
from tests.fakes.tiny_package import PATTERN_MODEL

#: AML from many myeloblasts, healthy without; knows no other class.
MODEL: PatternModel = pattern_model_from(PATTERN_MODEL)


def study(
    truth: str, *, myeloblast: int = 0, lymphocyte: int = 0, of: str = "five_class", group: str = "g"
) -> ComposedStudy:
    counts = dict.fromkeys(CELL_TYPES, 0) | {"myeloblast": myeloblast, "lymphocyte": lymphocyte}
    return ComposedStudy(of=of, truth=truth, source="hopkins", group=group, counts=tuple(counts.values()))


def test_indeterminate_is_not_right_and_too_few_cells_are_indeterminate() -> None:
    studies = [
        study("healthy", lymphocyte=100),
        study("healthy", lymphocyte=3),
        study("AML", myeloblast=60, lymphocyte=40),
        study("AML", lymphocyte=100),
    ]
    values = five_class_values(studies, MODEL)
    assert values["five_class.sensitivity.healthy"] == 0.5
    assert values["five_class.sensitivity.AML"] == 0.5
    assert values["five_class.balanced_accuracy"] == 0.5
    assert values["five_class.indeterminate"] == 0.25
    assert values["healthy_called_leukemia"] == 0.0
    assert five_class_table(studies, MODEL) == [
        [1, 0, 0, 0, 0, 1], [0] * 6, [1, 0, 1, 0, 0, 0], [0] * 6, [0] * 6,
    ]  # fmt: skip


def test_hopkins_patients_are_told_apart_by_the_experts_share() -> None:
    many = replace(study("AML", myeloblast=60, lymphocyte=40, of="hopkins", group="p1"), leukemic_share=0.6)
    missed = replace(study("AML", lymphocyte=100, of="hopkins", group="p2"), leukemic_share=0.15)
    few = replace(study("AML", lymphocyte=100, of="hopkins", group="p3"), leukemic_share=0.02)
    found = study_figures([many, missed, few], MODEL)
    assert found["hopkins_patients.at_least_10_percent.AML"].value == 0.5
    assert found["hopkins_patients.at_least_10_percent.AML"].n == 2
    assert found["hopkins_patients.at_least_20_percent.AML"].value == 1.0
    assert found["hopkins_patients.10_to_20_percent.healthy"].value == 1.0
    assert found["hopkins_patients.below_10_percent.healthy"].value == 1.0
    assert found["hopkins_patients_named_aml"].value == 0.5


def test_intervals_come_from_composing_anew_and_certainty_is_never_claimed() -> None:
    # Hopkins' two patients keep their names: AML is composed after their differentials.
    cells = [c if c[0] == "hopkins" else (c[0], f"{c[1]}-{i}", *c[2:]) for c in CELLS for i in range(4)]
    cells += [("barcelona", f"b-{i}", "smudge_cell", "smudge_cell") for i in range(4)]
    cells += [("barcelona", f"b-{i}", "variant_lymphocyte", "reactive_lymphocyte") for i in range(4)]
    cells += [("barcelona", f"b-{i}", "blast", "myeloblast") for i in range(4)]
    intervals = bootstrap_five_classes(read_as(cells), PATIENTS, MODEL, draws=8)
    low, high = intervals["healthy_called_leukemia"]
    assert low == 0.0
    assert 0.0 < high < 0.5
    assert intervals["five_class.balanced_accuracy"][0] <= intervals["five_class.balanced_accuracy"][1]


def test_a_block_of_fields_is_one_study() -> None:
    counts = dict.fromkeys(CELL_TYPES, 0) | {"lymphoblast": 6, "lymphocyte": 2}
    fields = [
        FieldReading(
            field=f"{i}",
            group="b1",
            disease="ALL",
            mean_blast=0.8,
            mean_lymphoblast=0.8,
            counts=tuple(counts.values()),
        )
        for i in range(3)
    ]
    found = block_figures(fields, MODEL)
    # The tiny model knows no ALL: many blasts that it cannot name are for a pathologist.
    assert found["taleqani_blocks.ALL_indeterminate"].value == 1.0
    assert found["taleqani_blocks.ALL_named_ALL"].value == 0.0
    assert found["taleqani_blocks.benign_named_leukemia"].n == 0


def test_shares_of_few_patients_keep_their_doubt() -> None:
    sure = [
        replace(study("AML", myeloblast=60, lymphocyte=40, of="hopkins", group=f"p{i}"), leukemic_share=0.6)
        for i in range(5)
    ]
    figure = study_figures(sure, MODEL)["hopkins_patients.at_least_20_percent.AML"]
    assert figure.value == 1.0
    assert figure.interval == pytest.approx((0.566, 1.0), abs=0.01)
