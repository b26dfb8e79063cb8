"""The background of a crop becomes neutral, whatever the light; the cell stays."""

import numpy as np
import pytest

from models.synthetic.cells import draw_cell
from models.white_balance import WHITE, neutral, neutral_one


@pytest.mark.parametrize("light", [(1.0, 0.9, 0.75), (0.55, 0.6, 0.6), (0.8, 0.8, 1.0)])
def test_two_lamps_give_nearly_the_same_crop(light: tuple[float, float, float]) -> None:
    cell = draw_cell("lymphocyte", np.random.default_rng(3), size_px=96, um_per_px=0.22)
    lit = (cell * np.array(light)).astype(np.uint8)
    assert np.abs(lit.astype(int) - cell).mean() > 8
    apart = np.abs(neutral_one(lit).astype(int) - neutral_one(cell).astype(int))
    assert apart.mean() < 1.5


def test_background_becomes_grey_240_and_a_dark_image_is_brightened_only_so_far() -> None:
    empty = np.full((1, 32, 32, 3), (230, 200, 150), np.uint8)
    assert np.abs(neutral(empty).astype(int) - int(WHITE)).max() <= 1
    black = np.full((1, 32, 32, 3), 10, np.uint8)
    assert neutral(black).max() <= 26


def test_shape_and_type_stay() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), dtype=np.uint8)
    balanced = neutral(crops)
    assert balanced.shape == crops.shape
    assert balanced.dtype == np.uint8
