"""Which cells look like none the network was taught: distance of the embedding to the training cells.

A probabilistic principal component model (Tipping and Bishop 1999): the leading components keep their own variances,
everything outside them shares one. Its Mahalanobis distance needs no covariance of all the features.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cds.errors import PackageError

Embeddings = npt.NDArray[np.float32]

#: The rule in words, for the card.
RULE = (
    "z = (e - mean) @ components.T; r2 = |e - mean|^2 - |z|^2; d2 = sum(z^2 / variances) + r2 / residual_variance; "
    "a cell is out of distribution when d2 > threshold"
)

#: Arrays of an `ood.npz` and their number of dimensions.
_DIMENSIONS = {"mean": 1, "components": 2, "variances": 1, "residual_variance": 0, "threshold": 0}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbeddingModel:
    """mean ``(f,)``, components ``(k, f)`` orthonormal, variances ``(k,)``, residual_variance and threshold scalars."""

    mean: Embeddings
    components: Embeddings
    variances: Embeddings
    residual_variance: float
    threshold: float

    def distance(self, embeddings: Embeddings) -> npt.NDArray[np.float64]:
        """Squared distance d2 of each row of ``(n, f)``."""
        centred = embeddings.astype(np.float64) - self.mean
        z = centred @ self.components.T.astype(np.float64)
        residual = np.maximum((centred**2).sum(axis=1) - (z**2).sum(axis=1), 0)
        distance: npt.NDArray[np.float64] = (z**2 / self.variances).sum(
            axis=1
        ) + residual / self.residual_variance
        return distance

    def save(self, path: Path) -> None:
        np.savez(
            path, mean=self.mean, components=self.components, variances=self.variances,
            residual_variance=np.float32(self.residual_variance), threshold=np.float32(self.threshold),
        )  # fmt: skip


def load(path: Path) -> EmbeddingModel:
    """What `EmbeddingModel.save` wrote. Raises PackageError when `path` is not that."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name], np.float32) for name in _DIMENSIONS}
    except (OSError, KeyError, ValueError) as error:
        raise PackageError(f"{path.name} cannot be read: {error}") from error
    fits = arrays["components"].shape == (arrays["variances"].size, arrays["mean"].size)
    if not fits or any(arrays[name].ndim != n for name, n in _DIMENSIONS.items()):
        raise PackageError(f"{path.name} has arrays that do not fit one another")
    return EmbeddingModel(
        mean=arrays["mean"],
        components=arrays["components"],
        variances=arrays["variances"],
        residual_variance=float(arrays["residual_variance"]),
        threshold=float(arrays["threshold"]),
    )


def fit(
    taught: Embeddings, held_out: Embeddings, *, components: int = 64, quantile: float = 0.99
) -> EmbeddingModel:
    """The model of the training cells' embeddings; its threshold is the `quantile` of held-out cells' distances."""
    mean = taught.mean(axis=0)
    _, singular, axes = np.linalg.svd(taught - mean, full_matrices=False)
    spread = singular.astype(np.float64) ** 2 / max(len(taught) - 1, 1)
    k = min(components, len(spread) - 1)
    model = EmbeddingModel(
        mean=mean.astype(np.float32),
        components=axes[:k].astype(np.float32),
        variances=spread[:k].astype(np.float32),
        # The spread that the kept axes leave over, shared by all other directions.
        residual_variance=float(spread[k:].sum() / (taught.shape[1] - k)),
        threshold=float("inf"),
    )
    threshold = float(np.quantile(model.distance(held_out), quantile))
    return EmbeddingModel(
        mean=model.mean,
        components=model.components,
        variances=model.variances,
        residual_variance=model.residual_variance,
        threshold=threshold,
    )
