"""Figures and their intervals, in numpy: macro-F1, AUROC, calibration error, bootstrap over groups."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured value with its 95 % interval and the number of cells or patients that it rests on."""

    value: float
    interval: tuple[float, float] | None
    n: int


def confusion(truth: Ints, predicted: Ints, labels: int) -> Ints:
    """Counts ``(labels, labels)``: row the true type, column the predicted one."""
    matrix = np.zeros((labels, labels), np.int64)
    np.add.at(matrix, (truth, predicted), 1)
    return matrix


def macro_f1(matrix: Ints) -> float:
    """Mean F1 over the types that occur in truth (rows that are not empty); nan where none does."""
    present = matrix.sum(axis=1) > 0
    hits = np.diag(matrix).astype(float)
    f1 = 2 * hits / np.maximum(matrix.sum(axis=0) + matrix.sum(axis=1), 1)
    return float(f1[present].mean()) if present.any() else float("nan")


def auroc(score: Floats, positive: npt.NDArray[np.bool_]) -> float:
    """Probability that a positive scores above a negative, ties counted half; nan without both kinds."""
    positives, negatives = np.sort(score[positive]), score[~positive]
    if not len(positives) or not len(negatives):
        return float("nan")
    below = np.searchsorted(positives, negatives, side="left")
    level = np.searchsorted(positives, negatives, side="right") - below
    return float(1 - (below + 0.5 * level).sum() / (len(positives) * len(negatives)))


def balanced_accuracy(predicted: npt.NDArray[np.bool_], positive: npt.NDArray[np.bool_]) -> float:
    """Mean of sensitivity and specificity; nan without both kinds."""
    if positive.all() or not positive.any():
        return float("nan")
    return float((predicted[positive].mean() + (~predicted[~positive]).mean()) / 2)


def calibration_error(confidence: Floats, correct: npt.NDArray[np.bool_], bins: int = 15) -> float:
    """Expected calibration error over equal-width bins (Guo 2017)."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(float(confidence[place == b].mean()) - float(correct[place == b].mean()))
        * float((place == b).mean())
        for b in range(bins)
        if (place == b).any()
    ]
    return float(sum(gaps))


def by_groups(
    statistic: Callable[[npt.NDArray[np.intp]], float],
    groups: Sequence[str],
    *,
    draws: int = 1000,
    seed: int = 0,
    n: int | None = None,
) -> Figure:
    """`statistic` of all rows, with the percentile interval over `draws` bootstrap samples of whole groups.

    statistic: takes row numbers (with repeats), gives a value; draws where it is undefined (nan) do not count.
    """
    names, membership = np.unique(np.array(groups), return_inverse=True)
    rows = [np.flatnonzero(membership == g) for g in range(len(names))]
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(draws):
        value = statistic(np.concatenate([rows[g] for g in rng.integers(len(names), size=len(names))]))
        if not np.isnan(value):
            values.append(value)
    interval = None
    # One group says nothing about how groups differ.
    if len(names) > 1 and len(values) > draws // 2:
        low, high = np.percentile(values, [2.5, 97.5])
        interval = (float(low), float(high))
    return Figure(value=statistic(np.arange(len(groups))), interval=interval, n=n or len(groups))


def softmax(logits: npt.NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """Probabilities ``(n, labels)`` that sum to 1 by row."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    powers = np.exp(scaled)
    probabilities: Floats = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def fit_temperature(logits: npt.NDArray[np.floating], allowed: npt.NDArray[np.bool_]) -> float:
    """Temperature in [0.3, 5] with the least negative log-likelihood of the allowed types (Guo 2017), by search."""

    def loss(temperature: float) -> float:
        within = (softmax(logits, temperature) * allowed).sum(axis=1)
        return float(-np.log(np.maximum(within, 1e-12)).mean())

    grid = np.exp(np.linspace(np.log(0.3), np.log(5.0), 200))
    return float(min(grid, key=loss))
