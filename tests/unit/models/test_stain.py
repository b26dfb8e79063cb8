import numpy as np
import pytest

from models.stain import background_mask, chromatin_threshold, green_density, nuclear_signal
from tests.fakes.drawn_smears import draw_smear


def test_the_signal_is_high_in_nuclei_and_near_zero_in_glass_and_red_cells():
    image = draw_smear(shape=(300, 300), um_per_px=0.2, nuclei=[(30, 30, 5)])
    signal = nuclear_signal(image)
    assert signal[150, 150] > 0.3
    assert np.median(signal) == pytest.approx(0, abs=0.03)
    red = (image[..., 1] < 190) & (image[..., 0] > 190)
    assert red.sum() > 1000
    assert np.median(signal[red]) < 0.1


@pytest.mark.parametrize("tint", [(1.0, 1.0, 1.0), (0.7, 0.7, 0.68), (0.95, 0.8, 0.9)])
def test_the_lamp_does_not_matter(tint):
    image = (draw_smear(shape=(300, 300), um_per_px=0.2, nuclei=[(30, 30, 5)]) * np.array(tint)).astype(
        np.uint8
    )
    signal = nuclear_signal(image)
    threshold = chromatin_threshold(signal, green_density(image), 500)
    assert threshold is not None
    area = np.count_nonzero(signal > threshold) * 0.04
    # No red cell, all of the nucleus, at most the cytoplasm about it (1.2 um).
    assert np.pi * 25 * 0.95 < area < np.pi * 6.2**2 * 1.05


def test_a_lamp_of_two_colours_makes_no_chromatin():
    image = draw_smear(shape=(300, 300), um_per_px=0.2, nuclei=[(45, 45, 5)])
    pink = np.array([1.0, 0.75, 0.95])
    across = np.linspace(1, 0, 300)[None, :, None]
    lit = (image * (across * pink + (1 - across))).astype(np.uint8)
    signal = nuclear_signal(lit)
    assert np.abs(np.median(signal[:, :50])) < 0.05
    assert signal[225, 225] > 0.3


def test_blue_red_cells_are_no_chromatin():
    """As some stains leave them: blue over green like a pale nucleus, but with less red than green."""
    image = draw_smear(shape=(300, 300), um_per_px=0.2, nuclei=[(30, 30, 5)])
    blue = image.copy()
    red_cells = (image[..., 1] < 190) & (image[..., 0] > 190)
    blue[red_cells] = (120, 145, 190)
    assert np.median(nuclear_signal(blue)[red_cells]) < 0.08
    assert nuclear_signal(blue)[150, 150] > 0.3


def test_a_vignette_is_no_object():
    rows, columns = np.mgrid[-1:1:300j, -1:1:300j]
    shade = 1 - 0.35 * (rows**2 + columns**2) / 2
    image = draw_smear(shape=(300, 300), um_per_px=0.2, red_cells=6)
    empty = background_mask((image * shade[..., None]).astype(np.uint8))
    assert empty.mean() > 0.8


def test_without_anything_purple_there_is_no_threshold():
    image = draw_smear(shape=(300, 300), um_per_px=0.2)
    assert chromatin_threshold(nuclear_signal(image), green_density(image), 500) is None
