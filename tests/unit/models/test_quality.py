import cv2
import numpy as np
import pytest

from models.quality import check_quality
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
    assert reason in quality.refused
    assert quality.score == 0


def test_a_slide_at_low_magnification_is_refused(smear):
    assert "magnification" in str(check_quality(smear, 16.8).refused)
