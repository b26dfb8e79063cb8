"""A model package of a few hundred bytes whose network tells cells apart by their brightness alone."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

#: Built once with `onnx.helper`: GlobalAveragePool -> Flatten (`embedding`) -> Gemm (`logits`). With d the mean of red
#: and green (0 to 1) over the crop: lymphocyte, from d below 0.6 on myeloblast, from d above 0.85 on not_a_cell.
NETWORK = Path(__file__).resolve().parent.parent / "fixtures" / "tiny_network.onnx"
#: The same with `activation`: mean over squares of 16 px before the pooling, and the Gemm applied in each square.
EXPLAINING_NETWORK = NETWORK.with_name("tiny_explaining_network.onnx")
LABELS = ["lymphocyte", "myeloblast", "not_a_cell"]

PATTERN_MODEL: dict[str, Any] = {
    "features": ["share:myeloblasts"],
    "weights": [[-20.0], [0.0], [20.0], [0.0], [0.0]],
    "bias": [4.0, -5.0, 0.0, -5.0, -5.0],
    "min_cells": 10,
    "min_probability": 0.6,
    "blasts_acute": 0.2,
    "blasts_abnormal": 0.015,
    "promyelocytes_apl": 0.2,
    "healthy_upper": {"monocytes": 0.2},
}


def write_explaining_package(folder: Path, **changes: Any) -> Path:
    """The same package with class-activation maps."""
    return write_tiny_package(folder, network=EXPLAINING_NETWORK, **changes)


def write_tiny_package(
    folder: Path,
    *,
    ood_threshold: float = 100.0,
    network: Path = NETWORK,
    embedding: int = 3,
    **changes: Any,
) -> Path:
    """The package in `folder`, its card changed by `changes`; digests are those of what was written.

    embedding: length of the embeddings of `network`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.onnx").write_bytes(network.read_bytes())
    np.savez(
        folder / "ood.npz", mean=np.resize(np.array([0.8, 0.7, 0.8], np.float32), embedding),
        components=np.eye(embedding, dtype=np.float32)[:2],
        variances=np.array([0.02, 0.02], np.float32), residual_variance=np.float32(0.02),
        threshold=np.float32(ood_threshold),
    )  # fmt: skip
    card = {
        "name": "tiny", "version": "1", "task": "cells", "labels": LABELS,
        "input": {"size_px": 48, "um_per_px": 0.25, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
        "temperature": 1.0, "weights": {"file": "weights.onnx"}, "ood": {"file": "ood.npz"},
        "files": {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("weights.onnx", "ood.npz")
        },
        "pattern_model": PATTERN_MODEL,
        **changes,
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return folder
