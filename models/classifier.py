"""The cell classifier of a package under ONNX Runtime: crops in, probabilities of the cell types and embeddings out."""

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime

from cds.errors import PackageError
from models.package import ModelCard

#: Crops classified at once: enough to keep two cores busy, little enough memory on a large machine's eight.
BATCH = 16

Crops = npt.NDArray[np.uint8]


class CropClassifier:
    """Float32 on the CPU, on all cores that this process may use. Raises PackageError when the weights do not fit the
    card."""

    def __init__(self, card: ModelCard, folder: Path, *, threads: int | None = None) -> None:
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
        self._check()

    def classify(self, crops: Crops) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Calibrated probabilities ``(n, labels)`` and embeddings ``(n, d)`` of uint8 RGB `crops` ``(n, s, s, 3)``.

        Each crop is seen as it is and turned by 180°, and the two are averaged: a cell has no right way up. Raises
        PackageError when the network answers with numbers that are not finite.
        """
        probabilities, embeddings = [], []
        for start in range(0, len(crops), BATCH):
            batch = crops[start : start + BATCH]
            views = [self._run(batch), self._run(np.ascontiguousarray(batch[:, ::-1, ::-1]))]
            probabilities.append(np.mean([self._softmax(logits) for logits, _ in views], axis=0))
            embeddings.append(np.mean([embedding for _, embedding in views], axis=0))
        return np.concatenate(probabilities), np.concatenate(embeddings)

    def _run(self, crops: Crops) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        mean = np.array(self._card.mean, np.float32) * 255.0
        std = np.array(self._card.std, np.float32) * 255.0
        cells = ((crops.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2)
        logits, embedding = self._session.run(["logits", "embedding"], {"cells": np.ascontiguousarray(cells)})
        if not (np.isfinite(logits).all() and np.isfinite(embedding).all()):
            # The first label would win, and broken weights would look like healthy blood.
            raise PackageError("the network answers with numbers that are not finite")
        return logits, embedding

    def _softmax(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        scaled = logits / self._card.temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        exponents = np.exp(scaled)
        return np.asarray(exponents / exponents.sum(axis=1, keepdims=True), np.float32)

    def _check(self) -> None:
        names = {output.name for output in self._session.get_outputs()}
        inputs: list[Any] = self._session.get_inputs()
        if [i.name for i in inputs] != ["cells"] or not {"logits", "embedding"} <= names:
            raise PackageError("the network's input must be `cells`, its outputs `logits` and `embedding`")
        side = self._card.input_px
        try:
            logits, _ = self._run(np.zeros((1, side, side, 3), np.uint8))
        except Exception as error:
            raise PackageError(f"the network does not take crops of {side} px: {error}") from error
        if logits.shape != (1, len(self._card.labels)):
            raise PackageError(
                f"the network tells {logits.shape[-1]} types apart, the card names {len(self._card.labels)}"
            )


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
