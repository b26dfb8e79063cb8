import numpy as np
import pytest

from models.bad_inputs import DRAWN, SPOILT, draw_bad, gaussian_blur, motion_blur, spoil_study
from models.quality import check_quality
from models.synthetic.studies import compose_study


@pytest.mark.parametrize("kind", DRAWN)
def test_the_same_seed_draws_the_same_study_and_another_a_different_one(kind):
    first, again, other = draw_bad(kind, 3), draw_bad(kind, 3), draw_bad(kind, 4)
    assert all(i.pixels.dtype == np.uint8 and i.pixels.ndim == 3 for i in first)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(first, again, strict=True))
    assert first[0].pixels.shape != other[0].pixels.shape or not np.array_equal(
        first[0].pixels, other[0].pixels
    )


def test_unknown_kinds_are_named():
    with pytest.raises(ValueError, match="histology"):
        draw_bad("smear", 0)
    with pytest.raises(ValueError, match="stain_shift"):
        spoil_study("blank", (), 0, 0.1)


@pytest.fixture(scope="module")
def good():
    return compose_study("healthy", 11, cells=4).images


@pytest.mark.parametrize("kind", SPOILT)
@pytest.mark.parametrize("seed", range(3))
def test_a_spoilt_image_passes_no_quality_gate(good, kind, seed):
    assert all(check_quality(i.pixels, 0.105).refused is None for i in good)
    spoilt = spoil_study(kind, good, seed, 0.105)
    assert [i.source for i in spoilt] == [i.source for i in good]
    assert sum(check_quality(i.pixels, 0.105).refused is not None for i in spoilt) > len(spoilt) / 2


def test_blur_and_movement_keep_what_is_even_and_its_brightness():
    even = np.full((60, 60, 3), 120, np.uint8)
    assert np.abs(gaussian_blur(1.0, 0.2)(even).astype(int) - 120).max() <= 1
    assert np.abs(motion_blur(4.0, 0.7, 0.2)(even).astype(int) - 120).max() <= 1


def test_a_movement_smears_along_its_direction_alone():
    stripes = np.zeros((80, 80, 3), np.uint8)
    stripes[:, 40:] = 200
    along = motion_blur(4.0, np.pi / 2, 0.2)(stripes)
    across = motion_blur(4.0, 0.0, 0.2)(stripes)
    assert np.unique(along[20:60]).size <= 4
    assert np.unique(across[20:60]).size > 10
