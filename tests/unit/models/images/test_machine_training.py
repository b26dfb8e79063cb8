import numpy as np
import pytest
from sklearn.svm import SVC

from models.images.features import FEATURE_NAMES
from models.images.genetic import GeneticSettings
from models.images.machine_training import fit_machine

QUICK = GeneticSettings(population=6, generations=3)


def clouds(seed: int, labels: int = 3, each: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Rows about one centre a label in the first two features; the rest is noise of another scale."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(labels), each)
    features = rng.normal(0, 30, (len(truth), len(FEATURE_NAMES)))
    features[:, :2] = np.array([[0, 0], [6, 0], [0, 6]])[truth] + rng.normal(0, 1, (len(truth), 2))
    features[:, 2] = 5.0  # constant
    return features, truth


def test_the_machine_tells_clouds_apart_and_answers_as_scikit_learn_does() -> None:
    features, truth = clouds(1)
    machine, selection = fit_machine(
        features, truth, [str(i) for i in range(len(truth))], 3, seed=1, settings=QUICK
    )
    fresh, expected = clouds(2)
    margins = machine.margins(fresh)
    assert (margins.argmax(axis=1) == expected).mean() > 0.9
    assert selection.cross_validated > 0.9
    assert len(selection.values) == 3

    scaled = ((features - machine.centre) / machine.spread)[:, machine.chosen]
    reference = SVC(C=selection.penalty, gamma=machine.gamma, class_weight="balanced").fit(scaled, truth == 1)
    asked = ((fresh - machine.centre) / machine.spread)[:, machine.chosen]
    assert np.allclose(margins[:, 1], reference.decision_function(asked), atol=1e-6)


def test_cross_validation_does_not_divide_groups() -> None:
    """Rows are noise but for a mark of their group, which tells the label in training: held out, it says nothing."""
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(24), 6)
    truth = groups % 2
    features = rng.normal(0, 1, (len(groups), len(FEATURE_NAMES)))
    features += rng.normal(0, 4, (24, len(FEATURE_NAMES)))[groups]
    leaky = fit_machine(features, truth, [str(i) for i in range(len(groups))], 2, seed=1, settings=QUICK)[1]
    honest = fit_machine(features, truth, [str(g) for g in groups], 2, seed=1, settings=QUICK)[1]
    assert leaky.cross_validated > 0.9
    assert honest.cross_validated < leaky.cross_validated - 0.1


def test_a_label_without_rows_is_refused() -> None:
    features, truth = clouds(1)
    with pytest.raises(ValueError, match="label 3"):
        fit_machine(features, truth, ["a"] * len(truth), 4, seed=1, settings=QUICK)
