"""Temperature undone, and figures of trust."""

from dataclasses import replace

import numpy as np
import pytest

from models.evaluation.calibration import before_temperature, calibration_figures, external_distance_figures
from models.statistics import softmax
from tests.fakes.predictions import read_as


def test_undoing_the_temperature_gives_the_network_s_own_probabilities() -> None:
    logits = np.random.default_rng(0).normal(0, 1.5, (20, 5))
    assert np.allclose(before_temperature(softmax(logits, 1.7), 1.7), softmax(logits), atol=1e-6)


def test_overconfidence_shows_before_and_after() -> None:
    told = read_as(
        [("lisc", "g1", "monocyte", "monocyte"), ("lisc", "g2", "monocyte", "eosinophil")] * 4, sure=0.9
    )
    found = calibration_figures(told, 2.0)
    assert found["calibration_error"].value == pytest.approx(0.4)
    # Before a temperature of 2 the network was surer still.
    assert 0.45 < found["calibration_error_before_temperature"].value <= 0.5
    assert found["brier_score_before_temperature"].value > found["brier_score"].value > 0.8


def test_leaving_out_the_unsure_helps_when_they_are_the_wrong_ones() -> None:
    right = read_as([("lisc", f"g{i}", "monocyte", "monocyte") for i in range(8)], sure=0.9)
    wrong = read_as([("lisc", f"h{i}", "monocyte", "eosinophil") for i in range(2)], sure=0.5)
    told = replace(
        right,
        source=right.source + wrong.source,
        group=right.group + wrong.group,
        source_label=right.source_label + wrong.source_label,
        allowed=np.concatenate([right.allowed, wrong.allowed]),
        probabilities=np.concatenate([right.probabilities, wrong.probabilities]),
    )
    found = calibration_figures(told, 1.0)
    assert found["selective.accuracy_eleven_at_80"].value == 1.0
    assert found["selective.aurc_eleven"].value == pytest.approx((1 / 9 + 2 / 10) / 10)


def test_distance_tells_the_other_laboratory_where_it_lies_farther() -> None:
    told = read_as([
        ("lisc", "g1", "monocyte", "monocyte"), ("lisc", "g2", "monocyte", "monocyte"),
        ("cellavision_blog", "all", "monocyte", "monocyte"),
    ])  # fmt: skip
    assert external_distance_figures(told, 1.0) == {}
    found = external_distance_figures(replace(told, distance=np.array([1.0, 2.0, 3.0])), 1.5)
    assert found["out_of_distribution.auroc.cellavision_blog"].value == 1.0
    assert found["out_of_distribution.known_sources"].value == 0.5
