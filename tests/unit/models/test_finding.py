import numpy as np
import pytest

from models.finding import find_cells
from tests.fakes.drawn_smears import draw_smear


def centres_um(image, um_per_px):
    found = find_cells(image, um_per_px)
    return sorted((round(c.row * um_per_px), round(c.column * um_per_px)) for c in found.cells), found


@pytest.mark.parametrize("um_per_px", [0.08, 0.167, 0.4])
def test_every_cell_of_a_field_is_found_once_at_any_scale(um_per_px):
    nuclei = [(20, 20, 4.0), (20, 60, 5.0), (60, 25, 3.2), (62, 66, 6.0)]
    side = round(85 / um_per_px)
    image = draw_smear(shape=(side, side), um_per_px=um_per_px, nuclei=nuclei)
    centres, found = centres_um(image, um_per_px)
    assert found.set_aside == 0
    assert len(centres) == 4
    for (row, column), (expected_row, expected_column) in zip(
        centres, [(20, 20), (20, 60), (60, 25), (62, 66)], strict=True
    ):
        assert abs(row - expected_row) <= 1
        assert abs(column - expected_column) <= 1


def test_a_field_of_red_cells_alone_holds_no_cell():
    image = draw_smear(shape=(400, 400), um_per_px=0.2)
    assert find_cells(image, 0.2).cells == ()


def test_the_lobes_of_one_nucleus_are_one_cell():
    lobes = [(30, 28, 2.0), (33.5, 31, 2.0), (29.5, 33, 1.9)]
    image = draw_smear(shape=(360, 360), um_per_px=0.17, nuclei=lobes, red_cells=20)
    centres, _ = centres_um(image, 0.17)
    assert len(centres) == 1
    assert centres[0] == pytest.approx((31, 31), abs=1.5)


def test_platelets_in_a_row_are_no_nucleus():
    platelets = [(30, 26, 1.3), (30, 28.9, 1.3), (31, 31.8, 1.3), (30, 34.7, 1.3), (29, 37.6, 1.3)]
    image = draw_smear(shape=(360, 360), um_per_px=0.17, nuclei=platelets, red_cells=20)
    assert centres_um(image, 0.17)[0] == []


def test_two_round_nuclei_that_touch_are_two_cells():
    image = draw_smear(shape=(360, 360), um_per_px=0.17, nuclei=[(30, 25, 4.2), (30, 33, 4.2)], red_cells=20)
    centres, _ = centres_um(image, 0.17)
    assert len(centres) == 2


def test_two_large_nuclei_that_lie_into_one_another_are_two_cells():
    image = draw_smear(shape=(360, 360), um_per_px=0.17, nuclei=[(30, 24, 6.4), (30, 33, 6.4)], red_cells=20)
    centres, _ = centres_um(image, 0.17)
    assert len(centres) == 2


def test_a_pale_nucleus_beside_a_dark_one_is_found():
    dark = draw_smear(shape=(300, 150), um_per_px=0.2, nuclei=[(20, 15, 4.5)], red_cells=5)
    pale = draw_smear(
        shape=(300, 150), um_per_px=0.2, nuclei=[(40, 15, 4.5)], red_cells=5, nucleus=(150, 110, 190)
    )
    assert len(find_cells(np.hstack([dark, pale]), 0.2).cells) == 2


@pytest.mark.parametrize("tint", [(1.0, 1.0, 1.0), (0.7, 0.7, 0.68), (0.95, 0.8, 0.9)])
def test_the_nucleus_is_measured_without_its_cytoplasm_under_any_lamp(tint):
    image = draw_smear(shape=(300, 300), um_per_px=0.2, nuclei=[(30, 30, 5)])
    (cell,) = find_cells((image * np.array(tint)).astype(np.uint8), 0.2).cells
    assert cell.area_um2 == pytest.approx(np.pi * 25, rel=0.25)


def test_pale_nuclei_are_found_among_very_dark_ones():
    dark = draw_smear(
        shape=(400, 200), um_per_px=0.2, nuclei=[(20, 20, 4), (60, 20, 4)], nucleus=(60, 15, 130)
    )
    pale = draw_smear(
        shape=(400, 200), um_per_px=0.2, nuclei=[(20, 20, 5), (60, 20, 5)], nucleus=(155, 115, 195)
    )
    assert len(find_cells(np.hstack([dark, pale]), 0.2).cells) == 4


def test_what_is_small_and_pale_beside_nuclei_is_no_cell():
    nuclei = draw_smear(shape=(400, 200), um_per_px=0.2, nuclei=[(20, 20, 5), (60, 20, 5)])
    debris = draw_smear(shape=(400, 200), um_per_px=0.2, nuclei=[(40, 20, 2.0)], nucleus=(155, 115, 195))
    dense = draw_smear(shape=(400, 200), um_per_px=0.2, nuclei=[(40, 20, 2.6)])
    assert len(find_cells(np.hstack([nuclei, debris]), 0.2).cells) == 2
    assert len(find_cells(np.hstack([nuclei, dense]), 0.2).cells) == 3


def test_a_cell_cut_by_the_border_of_a_field_is_set_aside():
    image = draw_smear(shape=(400, 400), um_per_px=0.2, nuclei=[(40, 40, 4.5), (1, 20, 4.5)])
    found = find_cells(image, 0.2)
    assert len(found.cells) == 1
    assert found.set_aside == 1


def test_in_its_own_image_a_cell_is_found_in_the_middle_and_its_neighbours_are_set_aside():
    image = draw_smear(
        shape=(361, 361), um_per_px=0.105, nuclei=[(19.5, 18.4, 5.0), (2, 4, 4.5), (31, 30, 4.0)]
    )
    found = find_cells(image, 0.105)
    assert len(found.cells) == 1
    # As close to the middle as an imager puts it: the middle itself.
    assert (found.cells[0].row, found.cells[0].column) == (180.5, 180.5)
    assert found.set_aside == 2


def test_a_cell_that_fills_its_own_image_is_kept_although_it_reaches_the_border():
    image = draw_smear(shape=(140, 140), um_per_px=0.1, nuclei=[(7, 7, 6.8)], red_cells=0)
    assert len(find_cells(image, 0.1).cells) == 1


def test_platelets_are_no_cells():
    image = draw_smear(shape=(400, 400), um_per_px=0.2, nuclei=[(40, 40, 1.2), (20, 60, 1.0)])
    assert find_cells(image, 0.2).cells == ()


def test_a_blank_image_holds_no_cell():
    assert find_cells(np.full((200, 200, 3), 230, np.uint8), 0.2).cells == ()
