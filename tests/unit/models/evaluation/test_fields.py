"""Fields labelled as a whole."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.corpus import load_pixels
from models.errors import CorpusError
from models.evaluation.fields import field_figures
from models.evaluation.predictions import FieldReading
from models.labels import CELL_TYPES


def reading(group: str, disease: str, mean_blast: float, cells: int) -> FieldReading:
    counts = [0] * len(CELL_TYPES)
    counts[0] = cells
    return FieldReading(
        field="f",
        group=group,
        disease=disease,
        mean_blast=mean_blast,
        mean_lymphoblast=0.0,
        counts=tuple(counts),
    )


def test_blocks_weigh_their_fields_by_the_cells_in_them() -> None:
    found = field_figures([
        reading("a", "ALL", 0.9, 9), reading("a", "ALL", 0.1, 1),
        reading("b", "none", 0.5, 4), reading("c", "none", 0, 0),
    ])  # fmt: skip
    assert found["taleqani_field_auroc"].value == pytest.approx(
        0.75
    )  # 0.9 above both, 0.1 above the empty one
    assert found["taleqani_block_auroc"].value == 1.0  # 0.82 against 0.5 and 0
    assert found["taleqani_fields_without_a_cell"].value == 0.25
    assert found["taleqani_block_auroc"].n == 3


def test_no_fields_no_figures() -> None:
    assert field_figures([]) == {}


def test_a_field_is_rgb_and_what_is_no_image_is_named(tmp_path: Path) -> None:
    blue = np.zeros((4, 4, 3), np.uint8)
    blue[..., 0] = 200  # OpenCV writes BGR
    cv2.imwrite(str(tmp_path / "blue.png"), blue)
    assert load_pixels(tmp_path / "blue.png")[0, 0].tolist() == [0, 0, 200]
    (tmp_path / "no.png").write_bytes(b"no image")
    with pytest.raises(CorpusError, match=r"no\.png"):
        load_pixels(tmp_path / "no.png")
