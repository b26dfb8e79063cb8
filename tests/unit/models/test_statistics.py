"""Figures against values worked out by hand."""

import numpy as np
import pytest

from models.baseline import border_features, fit_logistic
from models.statistics import (
    auroc,
    balanced_accuracy,
    by_groups,
    calibration_error,
    confusion,
    fit_temperature,
    macro_f1,
    softmax,
)


def test_macro_f1_leaves_out_types_that_do_not_occur() -> None:
    matrix = confusion(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert macro_f1(matrix) == pytest.approx((2 / 3 + 4 / 5) / 2)


def test_auroc_counts_ties_half() -> None:
    positive = np.array([True, True, False, False])
    assert auroc(np.array([0.9, 0.5, 0.5, 0.1]), positive) == pytest.approx(3.5 / 4)
    assert np.isnan(auroc(np.array([0.1, 0.2]), np.array([True, True])))


def test_balanced_accuracy_is_the_mean_of_both_rates() -> None:
    assert balanced_accuracy(np.array([True, False, False]), np.array([True, True, False])) == 0.75


def test_calibration_error_of_overconfidence() -> None:
    assert calibration_error(np.full(4, 0.9), np.array([True, True, False, False])) == pytest.approx(0.4)


def test_the_interval_widens_when_cells_share_a_patient() -> None:
    rng = np.random.default_rng(0)
    right = np.repeat(rng.random(10) < 0.7, 20).astype(float)
    alone = by_groups(lambda rows: float(right[rows].mean()), [str(i) for i in range(200)])
    shared = by_groups(lambda rows: float(right[rows].mean()), [str(i // 20) for i in range(200)])
    assert alone.value == shared.value
    assert alone.interval is not None
    assert shared.interval is not None
    assert shared.interval[1] - shared.interval[0] > 2 * (alone.interval[1] - alone.interval[0])


def test_a_single_group_has_no_interval() -> None:
    figure = by_groups(lambda rows: float(len(rows)), ["only"] * 5)
    assert (figure.value, figure.interval, figure.n) == (5.0, None, 5)


def test_temperature_cools_overconfidence() -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 2000)
    honest = 2.0 * np.eye(3)[truth] + rng.gumbel(size=(2000, 3))
    honest = np.log(softmax(honest))
    allowed = np.eye(3, dtype=bool)[truth]
    assert fit_temperature(4 * honest, allowed) == pytest.approx(
        4 * fit_temperature(honest, allowed), rel=0.1
    )


def test_the_border_gives_the_source_away() -> None:
    rng = np.random.default_rng(2)
    crops = rng.integers(100, 120, (60, 160, 160, 3), dtype=np.uint8)
    crops[30:, :, :, 2] += 60
    labels = np.repeat([0, 1], 30)
    predict = fit_logistic(border_features(crops), labels, 2)
    assert (predict(border_features(crops)).argmax(axis=1) == labels).all()
    crops[:, 8:-8, 8:-8] = 0  # the middle plays no part
    assert (predict(border_features(crops)).argmax(axis=1) == labels).all()
