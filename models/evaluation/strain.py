"""What the package makes of cells under strain (other stains, blur, JPEG), and of what is no smear at all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pydicom

from models.classifier import CropClassifier
from models.corpus import CellRecord, label_matrix
from models.merging import ELEVEN, merge_allowed, merge_probabilities
from models.ood import EmbeddingModel
from models.package import ModelCard
from models.stain_normalisation import brought, correction
from models.statistics import Figure, auroc, by_groups

Rgb = npt.NDArray[np.uint8]
Classify = Callable[[Rgb], npt.NDArray[np.float32]]

#: Grades of each strain, none first; the unit stands in the name.
GRADES: Mapping[str, tuple[float, ...]] = {
    "stain_shift": (0.0, 0.1, 0.2, 0.3, 0.4),
    "blur_um": (0.0, 0.15, 0.3, 0.45, 0.6),
    "jpeg_quality": (100, 70, 50, 30, 15),
}
#: Cells of each of the eleven types under strain, the same at each grade.
SAMPLE = 12
_STRANGERS = 100

_SEED = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """Test cells whose label allows one of the eleven types: crops ``(n, s, s, 3)``, the type's number, the group."""

    crops: Rgb
    truth: npt.NDArray[np.int64]
    group: tuple[str, ...]


def sample_rows(allowed: npt.NDArray[np.bool_]) -> list[int]:
    """Rows of at most SAMPLE cells of each merged type, of labels ``(n, labels)`` that allow one; always the same."""
    merged = merge_allowed(allowed, ELEVEN)
    rng = np.random.default_rng(_SEED)
    rows: list[int] = []
    for i in range(len(ELEVEN)):
        own = np.flatnonzero(merged[:, i] & (merged.sum(axis=1) == 1))
        rows += rng.permutation(own)[:SAMPLE].tolist()
    return sorted(rows)


def sample_of(crops: Rgb, records: Sequence[CellRecord]) -> Sample:
    """Crops ``(n, s, s, 3)`` with the records that they are of, each of one merged type."""
    merged = merge_allowed(label_matrix(records), ELEVEN)
    return Sample(
        crops=crops, truth=merged.argmax(axis=1).astype(np.int64), group=tuple(r.group for r in records)
    )


def robustness_figures(sample: Sample, classify: Classify, um_per_px: float) -> dict[str, Figure]:
    """Accuracy over the eleven types at each grade of each strain. um_per_px: of the crops."""
    found: dict[str, Figure] = {}
    for name, grades in GRADES.items():
        for grade in grades:
            if grade == grades[0] and found:  # unchanged cells are the same under every strain
                found[f"robustness.{name}.{grade:g}"] = next(iter(found.values()))
                continue
            changed = np.stack([strained(c, name, grade, i, um_per_px) for i, c in enumerate(sample.crops)])
            merged = merge_probabilities(classify(changed).astype(np.float64), ELEVEN)
            right = merged.argmax(axis=1) == sample.truth
            found[f"robustness.{name}.{grade:g}"] = by_groups(
                lambda r, h=right: float(h[r].mean()),  # type: ignore[misc]
                sample.group,
            )
    return found


def strained(crop: Rgb, kind: str, grade: float, number: int, um_per_px: float) -> Rgb:
    """One crop under one of GRADES. number: of the cell, which decides the direction of its stain shift.

    stain_shift: each channel's optical density times exp(g), g normal with that deviation; blur_um: a Gaussian of that
    deviation; jpeg_quality: compressed and decompressed. Raises ValueError for another kind.
    """
    if kind == "stain_shift":
        gains = np.exp(np.random.default_rng(number).normal(0, grade, 3))
        density = -np.log((crop.astype(np.float64) + 1) / 256)
        stained: Rgb = np.clip(256 * np.exp(-density * gains) - 1, 0, 255).round().astype(np.uint8)
        return stained
    if kind == "blur_um":
        return cv2.GaussianBlur(crop, (0, 0), grade / um_per_px).astype(np.uint8) if grade else crop
    if kind == "jpeg_quality":
        if grade >= 100:
            return crop
        bgr = np.ascontiguousarray(crop[..., ::-1])
        data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, int(grade)])[1]
        again = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
        return np.ascontiguousarray(again[..., ::-1])
    raise ValueError(f"unknown strain: {kind!r}")


def stranger_figures(
    model: EmbeddingModel,
    known: npt.NDArray[np.float64],
    strangers: Mapping[str, npt.NDArray[np.float32]],
) -> dict[str, Figure]:
    """AUROC by which the distance tells strangers (name to embeddings ``(n, d)``) from the distances of `known` test
    cells, and the share of strangers beyond the card's threshold. Intervals by bootstrap over single crops."""
    found = {}
    for name, embeddings in strangers.items():
        if not len(embeddings):
            continue
        distance = model.distance(embeddings)
        score = np.concatenate([known, distance])
        strange = np.arange(len(score)) >= len(known)
        each = [str(i) for i in range(len(score))]
        found[f"out_of_distribution.auroc.{name}"] = by_groups(
            lambda r, s=score, y=strange: auroc(s[r], y[r]),  # type: ignore[misc]
            each,
            draws=300,
            n=len(embeddings),
        )
        beyond = distance > model.threshold
        found[f"out_of_distribution.{name}"] = by_groups(
            lambda r, b=beyond: float(b[r].mean()),  # type: ignore[misc]
            [str(i) for i in range(len(beyond))],
        )
    return found


def far_strangers(
    data: Path, card: ModelCard, classifier: CropClassifier
) -> dict[str, npt.NDArray[np.float32]]:
    """Embeddings of what is no blood cell: noise, and tissue from the corpus's whole-slide files where it has any; each
    kind as one study."""
    size_px = card.input_px
    rng = np.random.default_rng(_SEED)
    crops = {"noise": rng.integers(0, 256, (_STRANGERS, size_px, size_px, 3), dtype=np.uint8)}
    tiles: list[Rgb] = []
    for path in sorted((data / "dicom").glob("*.dcm")):
        frames = pydicom.dcmread(path).pixel_array
        for frame in frames.reshape(-1, *frames.shape[-3:]):
            for row in range(0, frame.shape[0] - size_px + 1, size_px):
                for column in range(0, frame.shape[1] - size_px + 1, size_px):
                    tiles.append(frame[row : row + size_px, column : column + size_px])
    if tiles:
        chosen = rng.permutation(len(tiles))[:_STRANGERS]
        crops["tissue"] = np.stack([tiles[i] for i in chosen]).astype(np.uint8)
    return {
        name: classifier.classify(brought(found, correction(found, card.stain)))[1]
        for name, found in crops.items()
    }
