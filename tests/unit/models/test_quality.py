import cv2
import numpy as np
import pytest

from models.bad_inputs import gaussian_blur, motion_blur, recolourings
from models.quality import DISCREDITING, check_quality
from tests.fakes.drawn_smears import draw_smear


@pytest.fixture(scope="module")
def smear():
    return draw_smear(shape=(400, 400), um_per_px=0.15, nuclei=[(30, 30, 5), (12, 45, 4)])


def test_a_smear_passes(smear):
    quality = check_quality(smear, 0.15)
    assert quality.refused is None
    assert quality.score > 0.5


def test_the_score_falls_with_the_focus(smear):
    soft = check_quality(cv2.GaussianBlur(smear, (0, 0), 2.5), 0.15)
    assert soft.score < check_quality(smear, 0.15).score


def photograph():
    """Sky above grass."""
    rng = np.random.default_rng(0)
    image = np.zeros((300, 300, 3), np.uint8)
    image[:120] = (120, 170, 235)
    image[120:] = (70, 130, 40)
    return np.clip(cv2.GaussianBlur(image + rng.normal(0, 12, image.shape), (0, 0), 1), 0, 255).astype(
        np.uint8
    )


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda s: cv2.GaussianBlur(s, (0, 0), 9), "blurred"),
        (lambda s: (s * 0.2).astype(np.uint8), "under-exposed"),
        (lambda s: np.full_like(s, 255), "over-exposed"),
        (lambda s: np.full_like(s, 200), "blank"),
        (lambda s: np.random.default_rng(0).integers(0, 255, s.shape, dtype=np.uint8), "noise"),
        (lambda s: cv2.cvtColor(cv2.cvtColor(s, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), "not a smear"),
        (lambda s: photograph(), "not a smear"),
        (lambda s: s[:20, :20], "smaller than a cell"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_reason(smear, make, reason):
    quality = check_quality(make(smear), 0.15)
    assert quality.refused is not None
    assert reason in str(quality.refused)
    assert quality.score == 0


def test_a_slide_at_low_magnification_is_refused(smear):
    assert "magnification" in str(check_quality(smear, 16.8).refused)


@pytest.mark.parametrize("angle", np.arange(4) * np.pi / 4)
def test_a_movement_is_told_in_any_direction(smear, angle):
    refused = check_quality(motion_blur(4.0, angle, 0.15)(smear), 0.15).refused
    assert refused is not None
    assert str(refused).split(":")[0] == "blurred"
    assert "blurred" in DISCREDITING


def test_focus_is_judged_the_same_for_one_cell_and_for_many_and_for_a_pale_stain(smear):
    lone = draw_smear(shape=(240, 240), um_per_px=0.15, nuclei=[(18, 18, 2.3)], red_cells=0)
    pale = (255 - (255 - smear.astype(float)) * 0.4).astype(np.uint8)
    for image in (smear, lone, pale):
        assert check_quality(image, 0.15).refused is None
        assert "blurred" in str(check_quality(gaussian_blur(1.2, 0.15)(image), 0.15).refused)


def test_a_soft_camera_at_low_magnification_still_passes(smear):
    soft = cv2.resize(
        gaussian_blur(0.25, 0.15)(smear), None, fx=0.375, fy=0.375, interpolation=cv2.INTER_AREA
    )
    assert check_quality(soft, 0.4).refused is None


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("way", ["channels", "inverted", "grey", "green", "blue"])
def test_colours_that_no_stain_gives_are_refused(smear, way, seed):
    changed = recolourings(np.random.default_rng(seed))[way](smear)
    assert "not a smear" in str(check_quality(changed, 0.15).refused)


# From about 250° to 300° red cells turn purple and outweigh the nuclei: see decision 0017.
@pytest.mark.parametrize("degrees", [60, 120, 180, 240])
def test_a_turn_of_hue_is_refused(degrees):
    cell = draw_smear(shape=(220, 220), um_per_px=0.15, nuclei=[(16.5, 16.5, 5.5)], red_cells=6)
    turned = cv2.cvtColor(cell, cv2.COLOR_RGB2HSV)
    turned[..., 0] = (turned[..., 0].astype(int) + degrees // 2) % 180
    changed = cv2.cvtColor(turned, cv2.COLOR_HSV2RGB)
    assert "not a smear" in str(check_quality(changed, 0.15).refused)


@pytest.mark.parametrize("lamp", [(1.0, 0.92, 0.75), (0.85, 0.93, 1.0), (0.75, 0.72, 0.70)])
def test_a_warm_a_cold_and_a_dim_lamp_are_no_stain_shift(smear, lamp):
    assert check_quality((smear * np.array(lamp)).astype(np.uint8), 0.15).refused is None
