import numpy as np
import pytest

from cds.errors import PackageError
from models import ood


def test_the_distance_is_mahalanobis_along_the_components_and_beside_them():
    distribution = ood.EmbeddingModel(
        mean=np.array([1, 0, 0], np.float32), components=np.array([[0, 1, 0]], np.float32),
        variances=np.array([4], np.float32), residual_variance=0.25, threshold=9.0,
    )  # fmt: skip
    embeddings = np.array([[1, 0, 0], [1, 4, 0], [1, 0, 1], [2, 2, 0]], np.float32)
    assert distribution.distance(embeddings) == pytest.approx([0, 4, 4, 5])


def arrays(**changes):
    good = {
        "mean": np.zeros(4), "components": np.zeros((2, 4)), "variances": np.ones(2),
        "residual_variance": np.array(1.0), "threshold": np.array(3.0),
    }  # fmt: skip
    return {**good, **changes}


def test_it_is_loaded_as_written(tmp_path):
    np.savez(tmp_path / "ood.npz", **arrays())
    assert ood.load(tmp_path / "ood.npz").threshold == 3.0


def cells(rng, *, strange=False, count=300):
    """Embeddings along the first axis, or along the second: apart in direction, not in length."""
    embeddings = rng.normal(0, 0.3, (count, 6))
    embeddings[:, int(strange)] += 2
    return (embeddings * rng.uniform(0.5, 4, (count, 1))).astype(np.float32)


def test_outliers_fall_on_the_other_side_of_the_second_score(tmp_path):
    rng = np.random.default_rng(0)
    model = ood.fit(cells(rng), cells(rng), cells(rng, strange=True, count=40), components=3)
    assert np.median(model.likeness(cells(rng))) > 0.5
    assert np.median(model.likeness(cells(rng, strange=True))) < -0.5
    model.save(tmp_path / "ood.npz")
    again = ood.load(tmp_path / "ood.npz")
    probe = cells(rng)
    assert again.likeness(probe) == pytest.approx(model.likeness(probe), abs=1e-5)
    assert again.distance(probe) == pytest.approx(model.distance(probe), rel=1e-4)


def test_without_outliers_everything_is_like_a_cell(tmp_path):
    rng = np.random.default_rng(1)
    model = ood.fit(cells(rng), cells(rng), components=3)
    model.save(tmp_path / "ood.npz")
    assert (ood.load(tmp_path / "ood.npz").likeness(cells(rng, strange=True)) == 1).all()


@pytest.mark.parametrize(
    "changes",
    [
        {"variances": np.ones(3)}, {"mean": np.zeros((4, 1))},
        {"direction": np.zeros(3), "offset": np.array(0.0)}, {"direction": np.zeros(4), "offset": np.zeros(2)},
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes):
    np.savez(tmp_path / "ood.npz", **arrays(**changes))
    with pytest.raises(PackageError, match=r"ood\.npz"):
        ood.load(tmp_path / "ood.npz")


def test_what_is_no_archive_is_refused(tmp_path):
    for content in (b"no archive", b"PK\x03\x04 and no more of it"):
        (tmp_path / "ood.npz").write_bytes(content)
        with pytest.raises(PackageError, match="cannot be read"):
            ood.load(tmp_path / "ood.npz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": np.array(np.nan)}, "not finite"), ({"variances": np.array([1.0, 0.0])}, "above zero"),
        ({"residual_variance": np.array(-1.0)}, "above zero"),
    ],
)  # fmt: skip
def test_numbers_that_would_let_everything_pass_are_refused(tmp_path, changes, message):
    np.savez(tmp_path / "ood.npz", **arrays(**changes))
    with pytest.raises(PackageError, match=message):
        ood.load(tmp_path / "ood.npz")
