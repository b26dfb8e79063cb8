"""How far a cell's embedding lies from the training cells: Mahalanobis distance in their principal components."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cds.errors import PackageError

_SHAPES = {"mean": 1, "components": 2, "variances": 1, "residual_variance": 0, "threshold": 0}


@dataclass(frozen=True, slots=True, eq=False)
class TrainingDistribution:
    """Embeddings of the training cells: mean ``(d,)``, components ``(k, d)`` with their variances ``(k,)``, and one
    variance for all that the components leave out. threshold: squared distance from which a cell is unlike them."""

    mean: npt.NDArray[np.float32]
    components: npt.NDArray[np.float32]
    variances: npt.NDArray[np.float32]
    residual_variance: float
    threshold: float

    def squared_distance(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Squared distance of each of ``(n, d)`` `embeddings`; shape ``(n,)``, 0 at the mean."""
        offset = embeddings - self.mean
        within = offset @ self.components.T
        # What the components do not span counts with one common variance (probabilistic PCA).
        left_out = np.maximum((offset**2).sum(1) - (within**2).sum(1), 0.0)
        distance = (within**2 / self.variances).sum(1) + left_out / self.residual_variance
        return np.asarray(distance, np.float32)


def load_distribution(path: Path) -> TrainingDistribution:
    """Raises PackageError when `path` is not what a package's `ood.npz` must be."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name], np.float32) for name in _SHAPES}
    except (OSError, KeyError, ValueError) as error:
        raise PackageError(f"{path.name} cannot be read: {error}") from error
    if any(arrays[name].ndim != ndim for name, ndim in _SHAPES.items()):
        raise PackageError(f"{path.name} has arrays of the wrong shape")
    if arrays["components"].shape != (arrays["variances"].size, arrays["mean"].size):
        raise PackageError(f"{path.name}: components do not fit mean and variances")
    return TrainingDistribution(
        mean=arrays["mean"], components=arrays["components"], variances=arrays["variances"],
        residual_variance=float(arrays["residual_variance"]), threshold=float(arrays["threshold"]),
    )  # fmt: skip
