import numpy as np
import pytest

from models.explanation import PANEL_PX, Explanation, activation_map, overlay, panel


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
