"""Drawn cells, fields and studies: reproducible, of the stated size, and told apart by what a hematologist looks at."""

import numpy as np
import pytest

from models.labels import CELL_TYPES
from models.sampling import nucleus_mask
from models.synthetic.canvas import random_stain
from models.synthetic.cells import draw_cell
from models.synthetic.fields import draw_field, draw_single_cell_image
from models.synthetic.studies import PATTERNS, compose_study, draw_differential


@pytest.mark.parametrize("cell_type", CELL_TYPES)
def test_every_type_is_drawn_at_the_size_of_the_corpus(cell_type: str) -> None:
    crop = draw_cell(cell_type, np.random.default_rng(1))
    assert crop.shape == (160, 160, 3)
    assert crop.dtype == np.uint8
    assert crop.std() > 5


def test_the_same_seed_gives_the_same_pixels_and_another_gives_others() -> None:
    first, again, other = (draw_cell("monocyte", np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(ValueError, match="osteoclast"):
        draw_cell("osteoclast", np.random.default_rng(0))


def test_nuclei_take_the_share_of_the_cell_that_names_the_type() -> None:
    def nuclear_area(cell_type: str) -> float:
        rng = np.random.default_rng(5)
        centres = [
            draw_cell(cell_type, rng, stain=random_stain(rng, spread=0.3))[30:130, 30:130] for _ in range(8)
        ]
        return float(np.mean([nucleus_mask(c).mean() for c in centres]))

    assert nuclear_area("myeloblast") > 1.5 * nuclear_area("lymphocyte")
    assert nuclear_area("lymphocyte") > 1.5 * nuclear_area("erythroblast")


def test_a_crop_without_a_cell_may_show_one_at_its_edge_but_not_in_the_middle() -> None:
    rng = np.random.default_rng(5)
    crops = [draw_cell("not_a_cell", rng, stain=random_stain(rng, spread=0.3)) for _ in range(12)]
    assert max(nucleus_mask(c)[70:90, 70:90].mean() for c in crops) < 0.1
    assert max(nucleus_mask(c).mean() for c in crops) > 0.02


def test_eosinophils_are_redder_than_neutrophils_under_one_stain() -> None:
    stain = random_stain(np.random.default_rng(0), spread=0.3)
    rng = np.random.default_rng(2)

    def redness(cell_type: str) -> float:
        crops = [draw_cell(cell_type, rng, stain=stain)[45:115, 45:115].astype(float) for _ in range(5)]
        return float(np.mean([(c[..., 0] - c[..., 2]).mean() for c in crops]))

    assert redness("eosinophil") > redness("segmented_neutrophil") + 20


def test_stain_does_not_depend_on_the_type() -> None:
    def light(cell_type: str) -> np.ndarray:
        rng = np.random.default_rng(11)
        return random_stain(rng).light

    assert np.array_equal(light("basophil"), light("myeloblast"))
    a, b = (draw_cell(t, np.random.default_rng(9)) for t in ("lymphoblast", "segmented_neutrophil"))
    # The stain is drawn first: the same seed gives the same glass, whatever the cell.
    assert np.abs(np.percentile(a, 97, axis=(0, 1)) - np.percentile(b, 97, axis=(0, 1))).max() < 8


def test_a_field_says_where_its_cells_are() -> None:
    types = ["lymphocyte", "lymphoblast", "basophil"]
    stain = random_stain(np.random.default_rng(0), spread=0.2)
    image, placed = draw_field(types, np.random.default_rng(8), shape=(360, 480), um_per_px=0.25, stain=stain)
    assert image.shape == (360, 480, 3)
    assert [p.cell_type for p in placed] == types
    nuclei = nucleus_mask(image)
    for cell in placed:
        row, column = round(cell.row), round(cell.column)
        assert nuclei[row - 8 : row + 9, column - 8 : column + 9].mean() > 0.5


def test_a_field_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        draw_field(["monocyte"] * 30, np.random.default_rng(0), shape=(200, 200), um_per_px=0.2)


def test_scale_changes_the_size_of_cells_in_pixels() -> None:
    stain = random_stain(np.random.default_rng(0), spread=0.2)

    def nuclear_pixels(um_per_px: float) -> int:
        image = draw_single_cell_image(
            "lymphoblast",
            np.random.default_rng(4),
            size_px=round(27 / um_per_px),
            um_per_px=um_per_px,
            stain=stain,
        )
        return int(nucleus_mask(image).sum())

    assert nuclear_pixels(0.1) == pytest.approx(4 * nuclear_pixels(0.2), rel=0.25)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_study_is_reproducible_and_states_its_scale(pattern: str) -> None:
    study, again = (compose_study(pattern, 2, cells=3, um_per_px=0.2) for _ in range(2))
    assert len(study.images) == 3
    assert sum(study.differential.values()) == 3
    assert all(image.um_per_px == 0.2 for image in study.images)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(study.images, again.images, strict=True))


def test_fields_hold_several_cells_each() -> None:
    study = compose_study("healthy", 1, cells=10, layout="field", cells_per_field=4)
    assert [len(types) for types in study.cell_types] == [4, 4, 2]


def test_patterns_differ_by_the_cells_that_name_them() -> None:
    rng = np.random.default_rng(0)
    drawn = {
        p: [draw_differential(p, rng, 100) for _ in range(20)]
        for p in ("healthy", "ALL", "AML", "CLL", "CML")
    }

    def mean(pattern: str, *types: str) -> float:
        return float(np.mean([sum(t in types for t in cells) for cells in drawn[pattern]]))

    assert mean("ALL", "lymphoblast") > 50
    assert mean("AML", "myeloblast") > 45
    assert mean("CLL", "cll_lymphocyte") > 60
    assert mean("CML", "myelocyte", "metamyelocyte") > 20
    assert mean("CML", "myeloblast") < 6
    assert mean("healthy", "lymphoblast", "myeloblast", "promyelocyte", "myelocyte") == 0


def test_an_unreadable_study_shows_no_nuclei() -> None:
    spoiled = compose_study("unreadable", 1, cells=3)
    clear = compose_study("healthy", 1, cells=3)
    assert max(nucleus_mask(i.pixels).mean() for i in spoiled.images) < 0.01
    assert min(nucleus_mask(i.pixels).mean() for i in clear.images) > 0.01


def test_unknown_patterns_and_layouts_are_refused() -> None:
    with pytest.raises(ValueError, match="MDS"):
        compose_study("MDS", 1)
    with pytest.raises(ValueError, match="panorama"):
        compose_study("healthy", 1, layout="panorama")
