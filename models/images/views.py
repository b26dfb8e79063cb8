"""Pictures and labels of a division's views, the same wherever they are asked for."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.images.augmentation import numbered_copy
from models.images.image_set import ImageSet
from models.images.splits import View

Squares = npt.NDArray[np.uint8]


def squares_of(views: Sequence[View], image_set: ImageSet, squares: Squares, seed: int) -> Squares:
    """The views' pictures ``(len(views), s, s, 3)``; squares: of the whole set, ``(n, s, s, 3)``."""
    pictures = np.empty((len(views), *squares.shape[1:]), np.uint8)
    for i, view in enumerate(views):
        pictures[i] = numbered_copy(squares[view.image], image_set.images[view.image].sha256, view.copy, seed)
    return pictures


def truth_of(views: Sequence[View], image_set: ImageSet) -> npt.NDArray[np.int64]:
    """The number of each view's label ``(len(views),)``."""
    return np.array([image_set.labels.index(image_set.images[v.image].label) for v in views], np.int64)
