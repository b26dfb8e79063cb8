"""Figures and their intervals, in numpy: macro-F1, AUROC, calibration error, bootstrap over groups."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cds.values import wilson_interval

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Bootstrap samples behind an interval.
DRAWS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A measured value with its 95 % interval and the number of cells or patients that it rests on."""

    value: float
    interval: tuple[float, float] | None
    n: int
    #: What is counted in `n`: "cells", "patients", "fields", "blocks" or "studies".
    unit: str = "cells"

    def as_json(self) -> dict[str, Any]:
        """Rounded to four decimals; a value that is undefined (nan) becomes None."""
        value = None if np.isnan(self.value) else round(self.value, 4)
        interval = [round(v, 4) for v in self.interval] if self.interval else None
        return {"value": value, "interval": interval, "n": self.n, "unit": self.unit}


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


def brier_score(probabilities: Floats, allowed: npt.NDArray[np.bool_]) -> Floats:
    """Brier score of each row (Brier 1950): squared distance of probabilities ``(n, labels)`` to the truth, 0 to 2.

    Where a label allows several types, to the nearest distribution over them.
    """
    outside = np.where(allowed, 0.0, probabilities)
    # The mass that the allowed types lack is shared among them alike: the least squared distance.
    lack = outside.sum(axis=1) ** 2 / np.maximum(allowed.sum(axis=1), 1)
    scores: Floats = (outside**2).sum(axis=1) + lack
    return scores


def reliability(
    confidence: Floats, correct: npt.NDArray[np.bool_], bins: int = 10
) -> list[tuple[float, float, int]]:
    """Mean confidence, share correct and count of each equal-width bin that holds anything."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        (float(confidence[place == b].mean()), float(correct[place == b].mean()), int((place == b).sum()))
        for b in range(bins)
        if (place == b).any()
    ]


def risk_coverage(confidence: Floats, correct: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Coverage ``(n,)`` and the share wrong among the surest cells at that coverage (El-Yaniv and Wiener 2010)."""
    order = np.argsort(-confidence, kind="stable")
    count = np.arange(1, len(order) + 1)
    return count / len(order), np.cumsum(~correct[order]) / count


def area_under_risk_coverage(confidence: Floats, correct: npt.NDArray[np.bool_]) -> float:
    """Mean risk over all coverages (AURC; Geifman 2019); 0 is best, the error rate is what chance order gives."""
    return float(risk_coverage(confidence, correct)[1].mean())


def by_groups(
    statistic: Callable[[npt.NDArray[np.intp]], float],
    groups: Sequence[str],
    *,
    draws: int | None = None,
    seed: int = 0,
    n: int | None = None,
    unit: str = "cells",
) -> Figure:
    """`statistic` of all rows, with the percentile interval over `draws` (DRAWS) bootstrap samples of whole groups.

    statistic: takes row numbers (with repeats), gives a value; draws where it is undefined (nan) do not count. Without
    rows the value is nan.
    """
    if not len(groups):
        return Figure(value=float("nan"), interval=None, n=0, unit=unit)
    draws = DRAWS if draws is None else draws
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
    return Figure(value=statistic(np.arange(len(groups))), interval=interval, n=n or len(groups), unit=unit)


def share_by_groups(values: Floats, groups: Sequence[str], *, unit: str = "cells") -> Figure:
    """Mean of values from 0 to 1, with an interval by bootstrap over groups.

    Where every value is 0, or every one 1, no draw differs from another: the interval is then Wilson's for as many
    trials as there are groups, so that five of five patients do not look like certainty.
    """
    figure = by_groups(lambda rows: float(values[rows].mean()), groups, unit=unit)
    if figure.interval is not None and figure.interval[0] == figure.interval[1] in (0.0, 1.0):
        return replace(figure, interval=all_or_none(figure.value, len(set(groups))))
    return figure


def all_or_none(share: float, trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of 0 or 1 by so many independent trials."""
    return wilson_interval(round(share * trials), trials)


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
