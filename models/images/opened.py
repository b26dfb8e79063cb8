"""A package of task `image`, opened to answer: pictures in, probabilities of its classes out. Needs no torch."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.classifier import CropClassifier
from models.images.features import classical_features
from models.images.kernel_machine import KernelMachine, load_machine
from models.images.package import ImageCard, load_image_card
from models.images.squares import to_square
from models.statistics import softmax
from models.white_balance import neutral

Floats = npt.NDArray[np.float64]
Squares = npt.NDArray[np.uint8]


class ImageClassifier:
    """What a package says about pictures. Raises PackageError when the package is altered or does not fit its card."""

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        self.card: ImageCard = load_image_card(folder)
        if self.card.model == "svm-ga":
            self._model: KernelMachine | CropClassifier = load_machine(
                folder / self.card.weights_file, len(self.card.labels)
            )
        else:
            self._model = CropClassifier(self.card, folder, threads=threads)

    def classify(self, pixels: npt.NDArray[np.uint8]) -> Floats:
        """Calibrated probabilities ``(labels,)`` for one picture of any size, uint8 RGB ``(r, c, 3)``."""
        (probabilities,) = self.classify_squares(to_square(pixels, self.card.input_px)[None])
        return np.asarray(probabilities, np.float64)

    def classify_squares(self, squares: Squares) -> Floats:
        """The same ``(n, labels)`` for pictures that are squares of the card's size already: ``(n, s, s, 3)``."""
        if not len(squares):
            return np.zeros((0, len(self.card.labels)))
        if isinstance(self._model, KernelMachine):
            features = classical_features(seen(squares, self.card.white_balance))
            return softmax(self._model.margins(features), self.card.temperature)
        probabilities, _ = self._model.classify(squares)
        return np.asarray(probabilities, np.float64)


def seen(squares: Squares, white_balance: bool) -> Squares:
    """The squares as the classifier sees them: with a neutral background where the card says so."""
    return neutral(squares) if white_balance else squares
