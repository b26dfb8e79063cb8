"""Figures against values worked out by hand."""

import numpy as np
import pytest

from models.baseline import border_features, fit_logistic
from models.statistics import (
    area_under_risk_coverage,
    auroc,
    balanced_accuracy,
    brier_score,
    by_groups,
    calibration_error,
    confusion,
    fit_temperature,
    macro_f1,
    reliability,
    risk_coverage,
    share_by_groups,
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


def test_all_of_few_groups_is_no_certainty() -> None:
    figure = share_by_groups(np.ones(5), list("abcde"), unit="patients")
    assert figure.interval == pytest.approx((0.566, 1.0), abs=0.001)  # Wilson, five of five
    assert figure.as_json() == {"value": 1.0, "interval": [0.5655, 1.0], "n": 5, "unit": "patients"}
    mixed = share_by_groups(np.array([0.0, 1.0]), ["a", "b"])
    assert mixed.interval == (0.0, 1.0)


def test_nothing_has_no_value() -> None:
    figure = by_groups(lambda rows: 1.0, [])
    assert figure.n == 0
    assert figure.as_json()["value"] is None


def test_brier_score_forgives_within_what_a_label_allows() -> None:
    probabilities = np.array([[0.6, 0.4, 0.0], [0.6, 0.4, 0.0], [0.2, 0.2, 0.6]])
    allowed = np.array([[True, False, False], [True, True, False], [True, True, False]])
    # 0.4² + 0.4²; nothing outside; 0.6² outside and 0.3² lacking in each of two.
    assert brier_score(probabilities, allowed) == pytest.approx([0.32, 0.0, 0.54])


def test_reliability_by_bin() -> None:
    points = reliability(np.array([0.95, 0.93, 0.41]), np.array([True, False, False]))
    assert points == [(pytest.approx(0.41), 0.0, 1), (pytest.approx(0.94), 0.5, 2)]


def test_risk_rises_with_coverage_when_the_unsure_are_wrong() -> None:
    confidence, right = np.array([0.5, 0.9, 0.8]), np.array([False, True, True])
    coverage, risk = risk_coverage(confidence, right)
    assert coverage.tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    assert risk.tolist() == pytest.approx([0, 0, 1 / 3])
    assert area_under_risk_coverage(confidence, right) == pytest.approx(1 / 9)


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
