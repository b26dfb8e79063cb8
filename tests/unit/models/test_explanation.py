import cv2
import numpy as np
import pytest

from cds.values import Cell
from models.explanation import PANEL_PX, Explanation, activation_map, explain_cells, overlay, panel


def activation(*maps):
    return np.array(maps, np.float32)


def test_the_map_is_brightest_where_the_label_exceeds_the_others():
    left = [[4.0, 0.0, 0.0]] * 3
    right = [[0.0, 0.0, 4.0]] * 3
    heat = activation_map(activation(left, right), 0, size_px=60)
    assert heat.shape == (60, 60)
    assert heat.dtype == np.float32
    assert (heat.min(), heat.max()) == (0, 1)
    assert heat[:, :10].mean() > 0.8
    assert heat[:, 40:].max() < 0.05


def test_what_speaks_for_all_labels_alike_speaks_for_none():
    everywhere = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32) * 50
    own = np.zeros((3, 3), np.float32)
    own[1, 1] = 1.0
    plain = activation_map(activation(own, np.zeros((3, 3))), 0, size_px=30)
    shifted = activation_map(activation(own + everywhere, everywhere), 0, size_px=30)
    assert shifted == pytest.approx(plain, abs=1e-4)
    assert not activation_map(activation(everywhere, everywhere), 1, size_px=30).any()


@pytest.mark.parametrize(("shape", "label"), [((3, 3), 0), ((2, 3, 3), 2), ((2, 3, 3), -1)])
def test_another_shape_or_label_is_an_error(shape, label):
    with pytest.raises(ValueError, match="no label"):
        activation_map(np.zeros(shape, np.float32), label, size_px=30)


def test_an_overlay_colours_where_the_map_is_and_nowhere_else():
    crop = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    heat = np.zeros((40, 40), np.float32)
    heat[:20] = 1.0
    laid = overlay(crop, heat)
    assert laid.dtype == np.uint8
    assert np.array_equal(laid[20:], crop[20:])
    assert np.abs(laid[:20].astype(int) - crop[:20]).mean() > 20


def test_a_panel_shows_the_crop_the_overlay_and_the_caption():
    crop = np.full((48, 48, 3), (200, 60, 120), np.uint8)
    heat = np.zeros((48, 48), np.float32)
    heat[:, 24:] = 1.0
    explained = Explanation(cell_type="myeloblast", probability=0.9, crop=crop, map=heat)
    picture = panel(explained, "myeloblast 90 % " + "a rather long name of an image file.dcm " * 3)
    height, width, _ = picture.shape
    assert width == 2 * PANEL_PX
    assert (picture[:PANEL_PX, :PANEL_PX] == (200, 60, 120)).all()
    assert (picture[10, PANEL_PX + 10] == (200, 60, 120)).all()
    assert (picture[10, width - 10] != (200, 60, 120)).any()
    caption = picture[PANEL_PX:]
    assert height > PANEL_PX
    assert (caption[:, :8] == 255).all()
    assert (caption[:, -6:] == 255).all()  # shrunk until it fits
    assert (caption < 128).any()


def test_the_telling_cells_come_first_and_those_without_a_picture_are_left_out(tmp_path):
    def cell(cell_type, probability, level):
        crop = np.full((96, 96, 3), level or 0, np.uint8)
        thumbnail = cv2.imencode(".jpg", crop)[1].tobytes() if level else None
        return Cell(
            source="a/b.jpg", row=10.2, column=20.0, cell_type=cell_type, probability=probability,
            thumbnail=thumbnail,
        )  # fmt: skip

    asked = []

    def explain(crop, cell_type):
        asked.append((cell_type, int(crop[0, 0, 0])))
        heat = np.zeros(crop.shape[:2], np.float32)
        return Explanation(cell_type=cell_type, probability=0.5, crop=crop, map=heat)

    cells = [
        cell("lymphocyte", 0.9, 90), cell("myeloblast", 0.7, 70), cell("myeloblast", 0.8, 80),
        cell("myeloblast", 0.99, None),
    ]  # fmt: skip
    written = explain_cells(cells, explain, tmp_path / "new" / "folder")
    assert [p.name for p in written] == [
        "01-myeloblast-0.80.png", "02-myeloblast-0.70.png", "03-lymphocyte-0.90.png",
    ]  # fmt: skip
    assert asked == [("myeloblast", 80), ("myeloblast", 70), ("lymphocyte", 90)]
    assert cv2.imread(str(written[0])).shape[1] == 2 * PANEL_PX
    assert len(explain_cells(cells, explain, tmp_path / "two", at_most=2)) == 2
    assert explain_cells([], explain, tmp_path / "none") == []
