"""Composed studies: whose cells, in which proportions, read how."""

from pathlib import Path

import numpy as np
import pytest

from models.errors import CorpusError
from models.evaluation.studies import (
    CellBank,
    compose_external,
    compose_five_classes,
    compose_patients,
    read_differentials,
    read_studies,
    write_studies,
)
from models.labels import CELL_TYPES
from tests.fakes.predictions import CELLS, PATIENTS, read_as


def count(counts: tuple[int, ...], cell_type: str) -> int:
    return counts[CELL_TYPES.index(cell_type)]


def test_leukemic_cells_are_counted_among_the_white_ones(tmp_path: Path) -> None:
    table = tmp_path / "differentials.csv"
    table.write_text(
        "group,disease,split,blast,promyelocyte,promonocyte,monocyte,plasma_cell,smudge_cell\n"
        "p1,AML,test,10,5,5,76,4,50\np2,AML,train,1,0,0,0,0,0\n"
    )
    (patient,) = read_differentials(table, "test")
    assert patient.leukemic_share == pytest.approx(0.2)
    assert patient.shares["myeloblast"] == pytest.approx(
        15 / 146
    )  # blasts and promonocytes; no type for plasma cells


def test_a_patient_s_study_is_made_of_its_own_cells() -> None:
    bank, rng = CellBank(read_as(CELLS)), np.random.default_rng(0)
    studies = compose_patients(bank, PATIENTS, rng, each=4)
    own = [s for s in studies if s.group == "hopkins-1"]
    other = [s for s in studies if s.group == "hopkins-2"]
    assert len(own) == len(other) == 4
    assert own[0].leukemic_share == 0.6
    assert all(sum(s.counts) == 100 for s in studies)
    assert all(count(s.counts, "myeloblast") > 40 and not count(s.counts, "monocyte") for s in own)
    # The second patient's blasts are read as monocytes, and it has no lymphocyte of its own.
    assert any(count(s.counts, "monocyte") for s in other)
    assert all(count(s.counts, "lymphocyte") > 50 for s in other)


def test_five_classes_take_their_telling_cells_from_the_source_that_has_them() -> None:
    bank, rng = CellBank(read_as(CELLS)), np.random.default_rng(1)
    studies = compose_five_classes(bank, PATIENTS, rng, per_class=6)
    assert {s.truth: s.source for s in studies if s.truth != "healthy"} == {
        "ALL": "allidb2", "AML": "hopkins", "CLL": "lyon", "CML": "barcelona",
    }  # fmt: skip
    assert {s.group for s in studies if s.truth == "AML"} == {
        "hopkins-1"
    }  # the other has too few leukemic cells
    assert {s.group for s in studies if s.truth == "CML"} == {""}
    assert {s.source for s in studies if s.truth == "healthy"} <= {"barcelona", "lisc", "lyon"}
    cml = np.sum([s.counts for s in studies if s.truth == "CML"], axis=0)
    assert count(tuple(cml), "myelocyte") > 20


def test_a_group_not_drawn_is_not_used() -> None:
    told = read_as(CELLS)
    weights = {(s, g): 1 for s, g in zip(told.source, told.group, strict=True)} | {
        ("hopkins", "hopkins-1"): 0
    }
    bank = CellBank(told, weights)
    assert bank.groups("hopkins", "myeloblast") == ["hopkins-2"]
    assert not [
        s
        for s in compose_five_classes(bank, PATIENTS, np.random.default_rng(2), per_class=2)
        if s.truth == "AML"
    ]


def test_a_type_that_nobody_has_is_named() -> None:
    bank = CellBank(read_as([("lisc", "g", "monocyte", "monocyte")]))
    with pytest.raises(CorpusError, match="no source has test cells of type eosinophil"):
        bank.read({"eosinophil": 1.0}, np.random.default_rng(0), source="lisc")


def test_without_the_external_source_nothing_is_composed_of_it() -> None:
    assert compose_external(CellBank(read_as(CELLS)), np.random.default_rng(0), count=3) == []


def test_studies_come_back_as_they_were(tmp_path: Path) -> None:
    studies = compose_patients(CellBank(read_as(CELLS)), PATIENTS, np.random.default_rng(0), each=1)
    write_studies(studies, tmp_path / "studies.csv")
    assert read_studies(tmp_path / "studies.csv") == studies
