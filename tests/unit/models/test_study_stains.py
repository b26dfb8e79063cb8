import numpy as np
import pytest

from models.corpus import CROP_PX, read_corpus
from models.stain_normalisation import UNCHANGED, Stain, Target, correction
from models.study_stains import (
    corrected,
    corrections,
    fit_target,
    load_corrected,
    rows_of_studies,
    stored_views,
    study_of,
)
from tests.fakes.corpus import write_corpus
from tests.unit.models.test_stain_normalisation import GREYISH, PALE, PURPLE, SALMON, smear

TARGET = Target(stain=Stain(chromatin=PURPLE, red_cells=SALMON), strength=1.0)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    rows = [("hopkins", "lymphocyte", "AML", f"hopkins-{p}", "train") for p in (1, 2) for _ in range(9)]
    rows += [("barcelona", "lymphocyte", "none", f"block-{b}", "train") for b in range(12)]
    rows += [("barcelona", "lymphocyte", "none", "block-t", "test")]
    return read_corpus(write_corpus(tmp_path_factory.mktemp("corpus"), rows))


def cut(crops):
    return stored_views(crops, 96, 0.222667)


def test_a_study_is_a_patient_or_what_a_laboratory_gave_to_a_split(records):
    assert {study_of(r) for r in records} == {
        "hopkins-1",
        "hopkins-2",
        "barcelona (train)",
        "barcelona (test)",
    }
    assert [len(rows) for rows in rows_of_studies(records).values()] == [9, 9, 12, 1]


def test_each_study_gets_its_own_correction():
    crops = np.concatenate([smear(10, PALE, GREYISH), smear(10, PURPLE, SALMON)])
    rows = {"pale": range(10), "like the target": range(10, 20)}
    found = corrections(rows, lambda own: crops[list(own)], TARGET)
    assert np.array_equal(found["pale"].matrix, correction(crops[:10], TARGET).matrix)
    after = corrected(crops, rows, found)
    assert np.abs(after[10:].astype(int) - crops[10:]).max() <= 4
    assert np.abs(after[:10].astype(int) - crops[:10]).max() > 30


def test_without_a_target_crops_stay_as_they_are(records):
    assert corrections({"a": [0]}, lambda own: 1 / 0, None) == {"a": UNCHANGED}
    crops = load_corrected(records[:3], None, cut)
    assert crops.shape == (3, CROP_PX, CROP_PX, 3)


def test_the_target_is_of_the_training_cells_and_they_hardly_change_by_it(records):
    target = fit_target(records, cut)
    assert target.stain.chromatin[1] > target.stain.red_cells[1]
    assert fit_target([r for r in records if r.split == "train"], cut) == target


def test_without_a_training_study_of_enough_cells_there_is_no_target(records):
    assert fit_target([r for r in records if r.split == "test"], cut) is None
    assert fit_target(records[:5], cut) is None
