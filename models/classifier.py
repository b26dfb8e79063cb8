"""The cell classifier of a package under ONNX Runtime: crops in, probabilities of the cell types and embeddings out."""

import os
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from cds.errors import PackageError
from models.white_balance import neutral

#: Crops classified at once: enough to keep two cores busy, little enough memory on a large machine's eight.
BATCH = 16

Crops = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class NetworkCard(Protocol):
    """What of a card the network's answers depend on; both tasks' cards have it (see `models.package.ModelCard`)."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def input_px(self) -> int: ...
    @property
    def mean(self) -> tuple[float, float, float]: ...
    @property
    def std(self) -> tuple[float, float, float]: ...
    @property
    def white_balance(self) -> bool: ...
    @property
    def flips(self) -> int: ...
    @property
    def temperature(self) -> float: ...
    @property
    def weights_file(self) -> str: ...


class CropClassifier:
    """Float32 on the CPU, on all cores that this process may use. Raises PackageError when the weights do not fit the
    card."""

    def __init__(self, card: NetworkCard, folder: Path, *, threads: int | None = None) -> None:
        self._card = card
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        # A worker waits for the archive most of its time: its threads must sleep then, not spin.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                (folder / card.weights_file).read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors share no other base class
            raise PackageError(
                f"{card.weights_file} is no network that ONNX Runtime can load: {error}"
            ) from error
        self._explains = "activation" in {output.name for output in self._session.get_outputs()}
        self._features = 0
        self._check()

    @property
    def features(self) -> int:
        """Length of an embedding."""
        return self._features

    def classify(self, crops: Crops) -> tuple[Floats, Floats]:
        """Calibrated probabilities ``(n, labels)`` and embeddings ``(n, d)`` of uint8 RGB `crops` ``(n, s, s, 3)``.

        Each crop is seen as it is and, where the card says so, turned by 180°, and the two are averaged: a cell has no
        right way up. Raises PackageError when the network answers with numbers that are not finite.
        """
        probabilities, embeddings = [], []
        for start in range(0, len(crops), BATCH):
            views = [self._run(view) for view in self._views(crops[start : start + BATCH])]
            probabilities.append(np.mean([self._softmax(logits) for logits, _ in views], axis=0))
            embeddings.append(np.mean([embedding for _, embedding in views], axis=0))
        return np.concatenate(probabilities), np.concatenate(embeddings)

    def activations(self, crops: Crops) -> Floats:
        """Class-activation maps ``(n, labels, h, w)`` of `crops` as for `classify`, upright, mean of the views.

        The mean over a map is its label's logit before temperature. Raises PackageError for a network without the
        output `activation`, as packages of before it have.
        """
        if not self._explains:
            raise PackageError("this package's network has no output `activation`: it cannot explain itself")
        views = [self._run(view, "activation")[0] for view in self._views(crops)]
        upright = [views[0], *(turned[:, :, ::-1, ::-1] for turned in views[1:])]
        return np.asarray(np.mean(upright, axis=0), np.float32)

    def _views(self, crops: Crops) -> list[Crops]:
        """The ways in which the network sees the crops: the one place for white balance and flips in serving."""
        if self._card.white_balance:
            crops = neutral(crops)
        return [crops, np.ascontiguousarray(crops[:, ::-1, ::-1])][: self._card.flips]

    def _run(self, views: Crops, *outputs: str) -> list[Floats]:
        mean = np.array(self._card.mean, np.float32) * 255.0
        std = np.array(self._card.std, np.float32) * 255.0
        cells = ((views.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2)
        answers: list[Floats] = self._session.run(
            list(outputs or ("logits", "embedding")), {"cells": np.ascontiguousarray(cells)}
        )
        if not all(np.isfinite(answer).all() for answer in answers):
            # The first label would win, and broken weights would look like healthy blood.
            raise PackageError("the network answers with numbers that are not finite")
        return answers

    def _softmax(self, logits: Floats) -> Floats:
        scaled = logits / self._card.temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        exponents = np.exp(scaled)
        return np.asarray(exponents / exponents.sum(axis=1, keepdims=True), np.float32)

    def _check(self) -> None:
        names = {output.name for output in self._session.get_outputs()}
        inputs: list[Any] = self._session.get_inputs()
        if [i.name for i in inputs] != ["cells"] or not {"logits", "embedding"} <= names:
            raise PackageError("the network's input must be `cells`, its outputs `logits` and `embedding`")
        side, labels = self._card.input_px, len(self._card.labels)
        outputs = ("logits", "embedding", "activation") if self._explains else ("logits", "embedding")
        try:
            answers = self._run(np.zeros((1, side, side, 3), np.uint8), *outputs)
        except PackageError:
            raise
        except Exception as error:
            raise PackageError(f"the network does not take crops of {side} px: {error}") from error
        if answers[0].shape != (1, labels):
            raise PackageError(
                f"the network tells {answers[0].shape[-1]} types apart, the card names {labels}"
            )
        if answers[1].ndim != 2 or any(a.ndim != 4 or a.shape[1] != labels for a in answers[2:]):
            raise PackageError("the network's `embedding` must be (n, d), its `activation` (n, labels, h, w)")
        self._features = answers[1].shape[1]


def crop_about(
    pixels: npt.NDArray[np.uint8], row: float, column: float, um_per_px: float, *, size_px: int, scale: float
) -> npt.NDArray[np.uint8]:
    """Square of `size_px` pixels at `scale` µm/px about a point of ``(r, c, 3)`` `pixels`, mirrored at borders."""
    side = max(2, round(size_px * scale / um_per_px))
    top, left = round(row - side / 2), round(column - side / 2)
    height, width = pixels.shape[:2]
    inside = pixels[max(0, top) : top + side, max(0, left) : left + side]
    beyond = (max(0, -top), max(0, top + side - height), max(0, -left), max(0, left + side - width))
    if any(beyond):
        # Mirrored from the crop's own part of the image, as in training.
        inside = cv2.copyMakeBorder(inside, *beyond, cv2.BORDER_REFLECT_101).astype(np.uint8)
    interpolation = cv2.INTER_AREA if side > size_px else cv2.INTER_LINEAR
    return cv2.resize(inside, (size_px, size_px), interpolation=interpolation).astype(np.uint8)
