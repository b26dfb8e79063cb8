"""Fitting the support-vector machine: features by a genetic algorithm, settings by cross-validation in training."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.svm import SVC

from models.images.genetic import GeneticSettings, Mask, select_features
from models.images.kernel_machine import KernelMachine

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_PENALTIES = (1.0, 4.0, 16.0)
_GAMMAS = (0.3, 1.0, 3.0)
_FOLDS = 3
#: Rows that the search looks at, drawn at random where there are more; the machine itself is fitted on all.
_SEARCH_ROWS = 1200
USUAL = GeneticSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What the selection went through: for each generation the best value (balanced accuracy less the price of its
    features) and how many features it keeps; and the settings that cross-validation chose."""

    values: tuple[float, ...]
    kept: tuple[int, ...]
    penalty: float
    gamma: float
    #: Balanced accuracy of the chosen features and settings by cross-validation inside training.
    cross_validated: float


def fit_machine(
    features: Floats,
    truth: Ints,
    groups: Sequence[str],
    labels: int,
    *,
    seed: int,
    settings: GeneticSettings | None = None,
) -> tuple[KernelMachine, Selection]:
    """A machine for features ``(n, f)`` and labels ``(n,)``. groups are not divided in cross-validation.

    Deterministic for a seed. Raises ValueError when a label has no row.
    """
    if missing := set(range(labels)) - set(truth.tolist()):
        raise ValueError(f"label {min(missing)} has no row to learn from")
    centre, spread = features.mean(axis=0), features.std(axis=0)
    spread[spread < 1e-9] = 1.0
    x = (features - centre) / spread
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(x))[:_SEARCH_ROWS])
    searched, known = x[rows], truth[rows]
    folds = _folds(searched, known, [groups[int(i)] for i in rows], seed)
    values: list[float] = []
    kept: list[int] = []

    def watch(generation: int, best: float, count: int) -> None:
        values.append(best)
        kept.append(count)

    penalty, gamma, _ = _settings(searched, known, folds)
    chosen = select_features(
        _fitness(searched, known, folds, penalty, gamma), x.shape[1], rng, settings or USUAL, watch
    )
    penalty, gamma, score = _settings(searched[:, chosen], known, folds)
    columns = np.flatnonzero(chosen)
    machine = _machine(x[:, columns], truth, labels, penalty, gamma / len(columns))
    return (
        KernelMachine(
            centre=centre, spread=spread, chosen=columns, vectors=machine[0], weights=machine[1],
            offsets=machine[2], gamma=gamma / len(columns),
        ),
        Selection(
            values=tuple(values), kept=tuple(kept), penalty=penalty, gamma=gamma / len(columns),
            cross_validated=score,
        ),
    )  # fmt: skip


_Folds = list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]


def _folds(x: Floats, truth: Ints, groups: Sequence[str], seed: int) -> _Folds:
    count = min(_FOLDS, len(set(groups)))
    if count < 2:
        return [(np.arange(len(x)), np.arange(len(x)))]  # one group alone: nothing can be held out
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A label with fewer rows than folds; it is then missing from some, which balanced accuracy passes over.
        warnings.simplefilter("ignore", UserWarning)
        return [
            (taught, asked)
            for taught, asked in splitter.split(x, truth, groups)
            if len(np.unique(truth[taught])) > 1
        ]


def _settings(x: Floats, truth: Ints, folds: _Folds) -> tuple[float, float, float]:
    """Penalty, gamma (times the number of features) and balanced accuracy of the best pair."""
    everything = np.ones(x.shape[1], bool)
    return max(
        (
            (penalty, gamma, _fitness(x, truth, folds, penalty, gamma)(everything))
            for penalty in _PENALTIES
            for gamma in _GAMMAS
        ),
        key=lambda found: found[2],
    )


def _fitness(x: Floats, truth: Ints, folds: _Folds, penalty: float, gamma: float) -> Callable[[Mask], float]:
    """Balanced accuracy over the held-out rows of all folds together, by a mask of features."""

    def fitness(mask: Mask) -> float:
        columns = np.flatnonzero(mask)
        right = np.zeros(len(x), bool)
        asked_rows = np.zeros(len(x), bool)
        for taught, asked in folds:
            machine = SVC(C=penalty, gamma=gamma / len(columns), class_weight="balanced")
            machine.fit(x[np.ix_(taught, columns)], truth[taught])
            right[asked] = machine.predict(x[np.ix_(asked, columns)]) == truth[asked]
            asked_rows[asked] = True
        present = np.unique(truth[asked_rows])
        return float(np.mean([right[asked_rows & (truth == label)].mean() for label in present]))

    return fitness


def _machine(
    x: Floats, truth: Ints, labels: int, penalty: float, gamma: float
) -> tuple[Floats, Floats, Floats]:
    """Vectors, weights and offsets of one machine for each label against the rest."""
    weights, offsets = np.zeros((labels, len(x))), np.zeros(labels)
    for label in range(labels):
        machine = SVC(C=penalty, gamma=gamma, class_weight="balanced").fit(x, truth == label)
        weights[label, machine.support_] = machine.dual_coef_[0]
        offsets[label] = float(machine.intercept_[0])
    used = (weights != 0).any(axis=0)
    return x[used], weights[:, used], offsets
