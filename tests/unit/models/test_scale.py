import numpy as np
import pytest

from cds.values import RefusedImage, SmearImage
from models.scale import LOOK_AHEAD, ScaledImage, assumed_scale, measure_red_cells, study_scale, with_scale
from tests.fakes.drawn_smears import draw_smear


def smear(um_per_px, *, side_um=60, seed=0, red_cells=None, stated=None, source="a"):
    side = round(side_um / um_per_px)
    pixels = draw_smear(
        shape=(side, side), um_per_px=um_per_px, nuclei=[(30, 30, 5)], seed=seed, red_cells=red_cells
    )
    return SmearImage(source=source, pixels=pixels, um_per_px=stated)


@pytest.mark.parametrize("um_per_px", [0.09, 0.167, 0.35])
def test_red_cells_tell_the_scale_within_a_tenth(um_per_px):
    measured = measure_red_cells(smear(um_per_px).pixels)
    assert measured is not None
    assert measured.count >= 5
    assert measured.um_per_px == pytest.approx(um_per_px, rel=0.1)


def test_nuclei_and_platelets_are_no_ruler():
    pixels = draw_smear(
        shape=(400, 400),
        um_per_px=0.15,
        nuclei=[(15, 15, 5), (40, 40, 6), (20, 45, 1), (45, 15, 1)],
        red_cells=0,
    )
    assert measure_red_cells(pixels) is None


def test_a_study_takes_the_median_of_its_red_cells():
    measured = [measure_red_cells(smear(0.15, seed=seed).pixels) for seed in range(3)]
    assert study_scale([m for m in measured if m]) == pytest.approx(0.15, rel=0.08)
    assert study_scale([]) is None


def test_a_stated_scale_is_believed_and_nothing_waits():
    taken = []

    def images():
        for number in range(5):
            taken.append(number)
            yield smear(0.3, stated=0.25, source=str(number))

    first = next(with_scale(images()))
    assert isinstance(first, ScaledImage)
    assert (first.um_per_px, first.origin, taken) == (0.25, "stated", [0])


def test_images_without_red_cells_share_the_estimate_of_the_others_in_their_order():
    images = [smear(0.15, red_cells=0, source="0"), RefusedImage(source="1", reason="broken")]
    images += [smear(0.15, seed=n, source=str(n)) for n in range(2, 6)]
    scaled = list(with_scale(iter(images)))
    assert [s.source if isinstance(s, RefusedImage) else s.image.source for s in scaled] == list("012345")
    assert isinstance(scaled[1], RefusedImage)
    assert scaled[0].origin == "estimated"
    assert scaled[0].um_per_px == pytest.approx(0.15, rel=0.1)


def test_without_any_red_cell_the_scale_is_assumed_and_said_to_be():
    (scaled,) = with_scale([smear(0.15, red_cells=0)])
    assert scaled.origin == "assumed"
    assert scaled.um_per_px == assumed_scale((400, 400, 3)) == pytest.approx(38 / 400)


def test_no_more_than_the_look_ahead_waits_in_memory():
    given = 0

    def images():
        nonlocal given
        blank = np.full((40, 40, 3), 240, np.uint8)
        while True:
            given += 1
            yield SmearImage(source=str(given), pixels=blank)

    next(with_scale(images()))
    assert given == LOOK_AHEAD
