from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cds.errors import PackageError
from models.images.features import FEATURE_NAMES
from models.images.kernel_machine import KernelMachine, load_machine


def machine() -> KernelMachine:
    features = len(FEATURE_NAMES)
    return KernelMachine(
        centre=np.ones(features), spread=np.full(features, 2.0), chosen=np.array([1, 4]),
        vectors=np.array([[0.0, 0.0], [1.0, 0.0]]), weights=np.array([[1.0, 0.0], [0.0, -2.0]]),
        offsets=np.array([0.5, 0.25]), gamma=1.0,
    )  # fmt: skip


def test_margins_are_the_sums_of_the_kernel() -> None:
    features = np.ones((1, len(FEATURE_NAMES)))
    assert machine().margins(features) == pytest.approx(np.array([[1.5, 0.25 - 2 * np.exp(-1)]]))


def test_what_was_saved_answers_the_same(tmp_path: Path) -> None:
    machine().save(tmp_path / "m.npz")
    features = np.random.default_rng(0).normal(size=(4, len(FEATURE_NAMES)))
    assert np.array_equal(load_machine(tmp_path / "m.npz", 2).margins(features), machine().margins(features))


@pytest.mark.parametrize(
    "changes",
    [
        {"chosen": np.array([1, len(FEATURE_NAMES)])},
        {"spread": np.zeros(len(FEATURE_NAMES))},
        {"weights": np.full((2, 2), np.nan)},
        {"vectors": np.zeros((2, 3))},
        {"gamma": -1.0},
        {"centre": np.ones(3)},
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    replace(machine(), **changes).save(tmp_path / "m.npz")  # type: ignore[arg-type]
    with pytest.raises(PackageError, match="does not fit"):
        load_machine(tmp_path / "m.npz", 2)


def test_other_files_and_other_numbers_of_labels_are_refused(tmp_path: Path) -> None:
    machine().save(tmp_path / "m.npz")
    with pytest.raises(PackageError, match="does not fit the card: 3 labels"):
        load_machine(tmp_path / "m.npz", 3)
    (tmp_path / "text.npz").write_text("no arrays")
    np.savez(tmp_path / "pickled.npz", centre=np.array([{"a": 1}], dtype=object))
    for name in ("text.npz", "pickled.npz", "gone.npz"):
        with pytest.raises(PackageError, match="is no support-vector machine"):
            load_machine(tmp_path / name, 2)
