"""Which cells look like none the network was taught: distance of the embedding to the training cells.

A probabilistic principal component model (Tipping and Bishop 1999): the leading components keep their own variances,
everything outside them shares one. Its Mahalanobis distance needs no covariance of all the features.

Nuclei of tissue lie as near to the training cells as those of another laboratory's smear. So a second, linear score was
taught both: training cells on one side, what the cell finder takes for cells in things that are no smear on the other
(outlier exposure, Hendrycks et al. 2019).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from cds.errors import PackageError

Embeddings = npt.NDArray[np.float32]

#: The rule in words, for the card.
RULE = (
    "z = (e - mean) @ components.T; r2 = |e - mean|^2 - |z|^2; d2 = sum(z^2 / variances) + r2 / residual_variance; "
    "a cell is out of distribution when d2 > threshold; likeness = e / |e| @ direction + offset; "
    "a study is out of distribution when two thirds of its cells are, or when the median of likeness is below 0"
)

#: Arrays of an `ood.npz` and their number of dimensions.
_DIMENSIONS = {"mean": 1, "components": 2, "variances": 1, "residual_variance": 0, "threshold": 0}
#: Arrays that packages of before the second score lack.
_ADDED = {"direction": 1, "offset": 0}
#: Weight of the ridge against the mean spread of a feature: enough that a few hundred outliers do not decide alone.
_RIDGE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbeddingModel:
    """mean ``(f,)``, components ``(k, f)`` orthonormal, variances ``(k,)``, residual_variance and threshold scalars.

    direction ``(f,)`` and offset: of the linear score, None in a model that was fitted without outliers.
    """

    mean: Embeddings
    components: Embeddings
    variances: Embeddings
    residual_variance: float
    threshold: float
    direction: Embeddings | None = None
    offset: float = 0.0

    def distance(self, embeddings: Embeddings) -> npt.NDArray[np.float64]:
        """Squared distance d2 of each row of ``(n, f)``."""
        centred = embeddings.astype(np.float64) - self.mean
        z = centred @ self.components.T.astype(np.float64)
        residual = np.maximum((centred**2).sum(axis=1) - (z**2).sum(axis=1), 0)
        distance: npt.NDArray[np.float64] = (z**2 / self.variances).sum(
            axis=1
        ) + residual / self.residual_variance
        return distance

    def likeness(self, embeddings: Embeddings) -> npt.NDArray[np.float64]:
        """How much each row of ``(n, f)`` is a blood cell rather than an object of something else: about 1 to -1.

        1 throughout for a model that was fitted without outliers.
        """
        if self.direction is None:
            return np.ones(len(embeddings))
        score: npt.NDArray[np.float64] = _unit(embeddings) @ self.direction.astype(np.float64) + self.offset
        return score

    def save(self, path: Path) -> None:
        arrays: dict[str, Embeddings] = {
            "mean": self.mean, "components": self.components, "variances": self.variances,
            "residual_variance": np.asarray(self.residual_variance, np.float32),
            "threshold": np.asarray(self.threshold, np.float32),
        }  # fmt: skip
        if self.direction is not None:
            arrays |= {"direction": self.direction, "offset": np.asarray(self.offset, np.float32)}
        np.savez(path, allow_pickle=False, **arrays)


def load(path: Path) -> EmbeddingModel:
    """What `EmbeddingModel.save` wrote. Raises PackageError when `path` is not that."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            dimensions = _DIMENSIONS | (_ADDED if "direction" in archive else {})
            arrays = {name: np.asarray(archive[name], np.float32) for name in dimensions}
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise PackageError(f"{path.name} cannot be read: {error}") from error
    # A threshold that is no number lets everything pass.
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise PackageError(f"{path.name} holds numbers that are not finite")
    if not (arrays["variances"] > 0).all() or not (arrays["residual_variance"] > 0).all():
        raise PackageError(f"{path.name} holds variances that are not above zero")
    fits = arrays["components"].shape == (arrays["variances"].size, arrays["mean"].size)
    direction = arrays.get("direction")
    fits = fits and (direction is None or direction.shape == arrays["mean"].shape)
    if not fits or any(arrays[name].ndim != n for name, n in dimensions.items()):
        raise PackageError(f"{path.name} has arrays that do not fit one another")
    return EmbeddingModel(
        mean=arrays["mean"],
        components=arrays["components"],
        variances=arrays["variances"],
        residual_variance=float(arrays["residual_variance"]),
        threshold=float(arrays["threshold"]),
        direction=direction,
        offset=float(arrays.get("offset", 0.0)),
    )


def fit(
    taught: Embeddings,
    held_out: Embeddings,
    outliers: Embeddings | None = None,
    *,
    components: int = 64,
    quantile: float = 0.99,
) -> EmbeddingModel:
    """The model of the training cells' embeddings; its threshold is the `quantile` of held-out cells' distances.

    outliers: embeddings of objects that are no blood cells, for the second score; None for a model without it.
    """
    mean = taught.mean(axis=0)
    _, singular, axes = np.linalg.svd(taught - mean, full_matrices=False)
    spread = singular.astype(np.float64) ** 2 / max(len(taught) - 1, 1)
    k = min(components, len(spread) - 1)
    direction, offset = (None, 0.0) if outliers is None else _separate(taught, outliers)
    model = EmbeddingModel(
        mean=mean.astype(np.float32),
        components=axes[:k].astype(np.float32),
        variances=spread[:k].astype(np.float32),
        # The spread that the kept axes leave over, shared by all other directions.
        residual_variance=float(spread[k:].sum() / (taught.shape[1] - k)),
        threshold=float("inf"),
        direction=direction,
        offset=offset,
    )
    return replace(model, threshold=float(np.quantile(model.distance(held_out), quantile)))


def _separate(cells: Embeddings, outliers: Embeddings) -> tuple[Embeddings, float]:
    """Ridge regression to 1 for cells and -1 for outliers, each side of the same weight: direction and offset."""
    both = np.concatenate([_unit(cells), _unit(outliers)])
    aim = np.concatenate([np.ones(len(cells)), -np.ones(len(outliers))])
    weight = np.concatenate([np.full(len(a), 0.5 / len(a)) for a in (cells, outliers)])
    centre, middle = weight @ both, float(weight @ aim)
    centred = both - centre
    spread = (centred * weight[:, None]).T @ centred
    penalty = _RIDGE * float(both.var(axis=0).mean()) * np.eye(both.shape[1])
    direction = np.linalg.solve(spread + penalty, (centred * weight[:, None]).T @ (aim - middle))
    return direction.astype(np.float32), middle - float(centre @ direction)


def _unit(embeddings: Embeddings) -> npt.NDArray[np.float64]:
    """Rows of length 1: how strongly a network answers says little about what it sees."""
    wide = embeddings.astype(np.float64)
    unit: npt.NDArray[np.float64] = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-9)
    return unit
