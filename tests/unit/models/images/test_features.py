import numpy as np

from models.images.features import FEATURE_NAMES, classical_features


def column(features: np.ndarray, name: str) -> np.ndarray:
    return features[:, FEATURE_NAMES.index(name)]


def test_features_tell_a_large_nucleus_from_a_small_one(draw) -> None:
    large = classical_features(np.stack([draw(True, k) for k in range(6)]))
    small = classical_features(np.stack([draw(False, k) for k in range(6)]))
    assert large.shape == (6, len(FEATURE_NAMES))
    assert column(large, "chromatin_share").min() > 2 * column(small, "chromatin_share").max()
    assert 0.6 < column(large, "circularity").mean() <= 1.05
    assert (column(large, "solidity") > 0.85).all()
    assert (column(large, "pieces") == 1).all()
    # The nucleus is purple: more blue than red, more red than green.
    assert (column(large, "nuclear_mean_b") > column(large, "nuclear_mean_r")).all()
    assert (column(large, "nuclear_mean_r") > column(large, "nuclear_mean_g")).all()


def test_blank_black_and_noisy_pictures_have_finite_features() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    pictures = np.stack([np.full((64, 64, 3), 255, np.uint8), np.zeros((64, 64, 3), np.uint8), noise])
    features = classical_features(pictures)
    assert np.isfinite(features).all()
    assert column(features, "chromatin_share")[0] == 0


def test_texture_tells_stripes_from_checks() -> None:
    rows, columns = np.indices((128, 128))
    stripes, checks = (rows // 2) % 2, (rows // 2 + columns // 2) % 2
    pictures = np.stack([np.repeat((p * 200)[..., None], 3, axis=2) for p in (stripes, checks)]).astype(
        np.uint8
    )
    features = classical_features(pictures)
    assert column(features, "contrast_at_1")[0] != column(features, "contrast_at_1")[1]
    assert (column(features, "energy_at_1") <= 1).all()
    assert np.allclose(sum(column(features, f"pattern_{k}_radius_1") for k in range(10)), 1)


def test_no_pictures_give_no_rows() -> None:
    assert classical_features(np.zeros((0, 64, 64, 3), np.uint8)).shape == (0, len(FEATURE_NAMES))
