"""Cells under strain, and strangers."""

import numpy as np
import pytest

from models.corpus import CROP_UM_PER_PX
from models.evaluation.strain import (
    GRADES,
    Sample,
    robustness_figures,
    sample_rows,
    strained,
    stranger_figures,
)
from models.labels import CELL_TYPES
from models.merging import ELEVEN
from models.ood import EmbeddingModel
from models.synthetic.cells import draw_cell

CROP = draw_cell("monocyte", np.random.default_rng(0))


@pytest.mark.parametrize("kind", GRADES)
def test_the_first_grade_leaves_a_cell_as_it_is_and_each_next_changes_it_more(kind) -> None:
    changes = [
        float(np.abs(strained(CROP, kind, g, 1, CROP_UM_PER_PX).astype(float) - CROP).mean())
        for g in GRADES[kind]
    ]
    assert changes[0] == pytest.approx(0, abs=0.01)
    assert changes == sorted(changes)
    assert changes[-1] > 1
    again = strained(CROP, kind, GRADES[kind][-1], 1, CROP_UM_PER_PX)
    assert (again == strained(CROP, kind, GRADES[kind][-1], 1, CROP_UM_PER_PX)).all()


def test_an_unknown_strain_is_refused() -> None:
    with pytest.raises(ValueError, match="heat"):
        strained(CROP, "heat", 1.0, 0, CROP_UM_PER_PX)


def test_accuracy_is_taken_at_each_grade() -> None:
    monocyte = list(ELEVEN).index("monocyte")
    sample = Sample(crops=np.stack([CROP, CROP]), truth=np.array([monocyte, 0]), group=("a", "b"))

    def says_monocyte(crops: np.ndarray) -> np.ndarray:
        return np.eye(len(CELL_TYPES), dtype=np.float32)[[CELL_TYPES.index("monocyte")] * len(crops)]

    found = robustness_figures(sample, says_monocyte, CROP_UM_PER_PX)
    assert len(found) == sum(len(grades) for grades in GRADES.values())
    assert {f.value for f in found.values()} == {0.5}


def test_the_sample_holds_no_cell_of_an_uncertain_type() -> None:
    allowed = np.zeros((30, len(CELL_TYPES)), bool)
    allowed[:, CELL_TYPES.index("lymphocyte")] = True
    allowed[:10, CELL_TYPES.index("reactive_lymphocyte")] = True
    rows = sample_rows(allowed)
    assert len(rows) == 12
    assert min(rows) >= 10
    assert rows == sample_rows(allowed)


def test_strangers_are_told_by_their_distance() -> None:
    model = EmbeddingModel(
        mean=np.zeros(3, np.float32), components=np.eye(3, dtype=np.float32)[:1],
        variances=np.ones(1, np.float32), residual_variance=1.0, threshold=4.0,
    )  # fmt: skip
    far = np.full((5, 3), 9.0, np.float32)
    found = stranger_figures(model, np.array([0.5, 1.0, 2.0]), {"noise": far, "none": far[:0]})
    assert found["out_of_distribution.auroc.noise"].value == 1.0
    assert found["out_of_distribution.noise"].value == 1.0
    assert found["out_of_distribution.auroc.noise"].n == 5
    assert "out_of_distribution.auroc.none" not in found
