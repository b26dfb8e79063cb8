"""A fitted support-vector machine as plain arrays, answered in NumPy: nothing pickled, nothing to train with needed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cds.errors import PackageError
from models.images.features import FEATURE_NAMES

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KernelMachine:
    """One machine with a radial kernel for each label, that label against the rest.

    Features are scaled, `chosen` ones kept; label k's margin is ``sum_i weights[k, i] exp(-gamma |x - vectors[i]|²) +
    offsets[k]``.
    """

    #: Of all features ``(f,)``.
    centre: Floats
    spread: Floats
    #: Columns kept ``(c,)``.
    chosen: npt.NDArray[np.int64]
    #: Support vectors of all labels ``(v, c)``, their weights ``(labels, v)``, and ``(labels,)`` offsets.
    vectors: Floats
    weights: Floats
    offsets: Floats
    gamma: float

    def margins(self, features: Floats) -> Floats:
        """Signed distances ``(n, labels)`` from each label's boundary, of features ``(n, f)``."""
        x = ((features - self.centre) / self.spread)[:, self.chosen]
        squared = (x * x).sum(axis=1)[:, None] + (self.vectors**2).sum(axis=1) - 2 * x @ self.vectors.T
        kernel = np.exp(-self.gamma * np.maximum(squared, 0.0))
        return np.asarray(kernel @ self.weights.T + self.offsets, np.float64)

    def save(self, path: Path) -> None:
        np.savez_compressed(
            path, centre=self.centre, spread=self.spread, chosen=self.chosen, vectors=self.vectors,
            weights=self.weights, offsets=self.offsets, gamma=np.float64(self.gamma),
        )  # fmt: skip


def load_machine(path: Path, labels: int) -> KernelMachine:
    """A saved machine. Raises PackageError when the file is no such machine for that number of labels."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            floats = {
                name: np.asarray(stored[name], np.float64)
                for name in ("centre", "spread", "vectors", "weights", "offsets")
            }
            chosen, gamma = np.asarray(stored["chosen"], np.int64), float(stored["gamma"])
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise PackageError(f"{path.name} is no support-vector machine: {error}") from error
    machine = KernelMachine(**floats, chosen=chosen, gamma=gamma)
    features, vectors = len(FEATURE_NAMES), len(machine.vectors)
    fits = (
        machine.centre.shape == machine.spread.shape == (features,)
        and chosen.ndim == 1
        and bool(((chosen >= 0) & (chosen < features)).all())
        and machine.vectors.shape == (vectors, len(chosen))
        and machine.weights.shape == (labels, vectors)
        and machine.offsets.shape == (labels,)
        and bool((machine.spread > 0).all())
        and gamma > 0
        and all(np.isfinite(values).all() for values in floats.values())
    )
    if not fits:
        raise PackageError(
            f"{path.name} does not fit the card: {labels} labels and {features} features expected"
        )
    return machine
