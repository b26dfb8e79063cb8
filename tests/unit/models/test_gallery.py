"""Pictures of cells for a report: bounded, JPEG, the crop beside its map and nothing written into it."""

import cv2
import numpy as np
import pytest

from cds.values import Cell
from models.explanation import PANEL_PX, Explanation
from models.gallery import cell_pictures
from tests.fakes.images import drawing, encoded

JPEG = encoded(drawing(64, 64))


def cells(count, thumbnail=JPEG):
    return [
        Cell(source="1.2.3", row=n, column=0, cell_type="myeloblast", probability=0.9, thumbnail=thumbnail)
        for n in range(count)
    ]


def explain(crop, cell_type):
    heat = np.zeros(crop.shape[:2], np.float32)
    heat[: crop.shape[0] // 2] = 1
    return Explanation(cell_type=cell_type, probability=0.9, crop=crop, map=heat)


def decoded(picture):
    return cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR).astype(int)


def test_the_first_cells_that_have_a_thumbnail_and_no_more():
    shown = cell_pictures([*cells(1, None), *cells(5)], explain, at_most=3)
    assert [picture.cell.row for picture in shown] == [0, 1, 2]
    assert all(picture.activation_map for picture in shown)
    assert cell_pictures(cells(3), explain, at_most=0) == ()


def test_the_cell_stands_beside_itself_under_its_map():
    (picture,) = cell_pictures(cells(1), explain, at_most=1)
    pixels = decoded(picture)
    assert pixels.shape == (PANEL_PX, 2 * PANEL_PX, 3), "no caption below"
    left, right = pixels[:, :PANEL_PX], pixels[:, PANEL_PX:]
    half = PANEL_PX // 2
    assert np.abs(left[half + 8 :] - right[half + 8 :]).mean() < 4, "where the map is 0 the crop shows"
    assert np.abs(left[: half - 8] - right[: half - 8]).mean() > 20


def test_colours_stay_what_they_were():
    (picture,) = cell_pictures(cells(1), explain, at_most=1)
    before = cv2.imdecode(np.frombuffer(JPEG, np.uint8), cv2.IMREAD_COLOR).mean(axis=(0, 1))
    assert np.abs(decoded(picture)[:, :PANEL_PX].mean(axis=(0, 1)) - before).max() < 4


def test_without_maps_the_crop_alone_is_shown():
    (picture,) = cell_pictures(cells(1), None, at_most=1)
    assert not picture.activation_map
    assert decoded(picture).shape == (64, 64, 3)


def test_a_thumbnail_that_is_no_picture():
    with pytest.raises(ValueError, match="no picture"):
        cell_pictures(cells(1, b"nothing"), explain, at_most=1)
