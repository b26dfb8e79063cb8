"""A package's network under ONNX Runtime, for calibration and evaluation: what is measured is what serves."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from models.augment import centre_crop
from models.corpus import CROP_UM_PER_PX
from models.package import ModelCard
from models.white_balance import neutral

Floats = npt.NDArray[np.float32]


class PackagedNetwork:
    """Runs stored crops through ``weights.onnx``.

    mean and std of RGB values 0 to 1; field_px of the stored crops; white_balance and flips as in the card's input.
    """

    def __init__(
        self,
        weights: Path,
        *,
        size_px: int,
        field_px: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        white_balance: bool,
        flips: int = 2,
        threads: int = 2,
    ) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(weights), options, providers=["CPUExecutionProvider"]
        )
        self._size_px, self._field_px = size_px, field_px
        self._white_balance, self._flips = white_balance, flips
        self._mean, self._std = np.array(mean, np.float32), np.array(std, np.float32)

    @classmethod
    def of_card(cls, weights: Path, card: ModelCard, *, threads: int = 2) -> "PackagedNetwork":
        """The network in the file `weights`, fed as `card` says."""
        return cls(
            weights, size_px=card.input_px, field_px=round(card.input_um_per_px * card.input_px / CROP_UM_PER_PX),
            mean=card.mean, std=card.std, white_balance=card.white_balance, flips=card.flips, threads=threads,
        )  # fmt: skip

    @property
    def size_px(self) -> int:
        return self._size_px

    @property
    def field_px(self) -> int:
        """Side of the part of a stored crop that the network sees, in pixels of the crop."""
        return self._field_px

    def __call__(self, crops: npt.NDArray[np.uint8], batch: int = 64) -> tuple[Floats, Floats]:
        """Logits ``(n, labels)`` and embeddings ``(n, features)`` of crops uint8 RGB ``(n, 160, 160, 3)``."""
        results = [self.views(self.cut(crops[i : i + batch])) for i in range(0, len(crops), batch)]
        return np.concatenate([r[0] for r in results]), np.concatenate([r[1] for r in results])

    def cut(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The network's views ``(n, s, s, 3)`` of crops, white balance included, not yet normalised."""
        views = self.cropped(crops)
        return neutral(views) if self._white_balance else views

    def cropped(self, crops: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The part ``(n, s, s, 3)`` of crops that the network sees, in its own colours."""
        return np.stack([centre_crop(c, field_px=self._field_px, size_px=self._size_px) for c in crops])

    def views(self, views: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Logits and embeddings of views uint8 RGB ``(n, s, s, 3)``."""
        scaled = (views.astype(np.float32) / 255 - self._mean) / self._std
        logits, embedding = self._session.run(
            ["logits", "embedding"], {"cells": scaled.transpose(0, 3, 1, 2)}
        )
        return np.asarray(logits, np.float32), np.asarray(embedding, np.float32)

    def embed(self, views: npt.NDArray[np.uint8], batch: int = 64) -> Floats:
        """Embeddings ``(n, features)`` of views as serving sees them: with two flips, also turned by 180°."""
        ways = [views, np.ascontiguousarray(views[:, ::-1, ::-1])][: self._flips]
        seen = [
            np.concatenate([self.views(v[i : i + batch])[1] for i in range(0, len(v), batch)]) for v in ways
        ]
        return np.asarray(np.mean(seen, axis=0), np.float32)
