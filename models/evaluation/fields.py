"""Fields that are labelled as a whole (taleqani): their cells found and read, and ALL told from benign by field."""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.classifier import CropClassifier, crop_about
from models.corpus import FIELD_UM_PER_PX, load_pixels
from models.evaluation.predictions import FieldReading
from models.finding import find_cells
from models.labels import CELL_TYPES
from models.package import ModelCard
from models.stain_normalisation import brought, correction
from models.statistics import Figure, auroc, by_groups

SOURCE = "taleqani"

Rgb = npt.NDArray[np.uint8]


def labelled_fields(data: Path, split: str) -> list[dict[str, str]]:
    """Rows of ``data/manifest.csv`` that are fields of that split; none where the corpus has no fields."""
    with (data / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        return [r for r in csv.DictReader(stream) if r["source"] == SOURCE and r["split"] == split]


def read_test_fields(
    data: Path, card: ModelCard, classifier: CropClassifier
) -> tuple[list[FieldReading], npt.NDArray[np.float32]]:
    """Every test field as the reader reads it, and the embeddings ``(n, d)`` of all cells found.

    The fields of a group are one study, by whose cells its stain is told.
    """
    readings, embeddings = [], []
    rows = labelled_fields(data, "test")
    crops_of = [_crops(load_pixels(data / row["file"]), card) for row in rows]
    of_group: dict[str, list[Rgb]] = defaultdict(list)
    for row, crops in zip(rows, crops_of, strict=True):
        of_group[row["group"]] += crops
    stains = {group: correction(np.stack(c), card.stain) for group, c in of_group.items() if c}
    for row, crops in zip(rows, crops_of, strict=True):
        probabilities = np.zeros((0, len(CELL_TYPES)))
        if crops:
            found, embedding = classifier.classify(brought(np.stack(crops), stains[row["group"]]))
            probabilities = found.astype(np.float64)
            embeddings.append(embedding)
        readings.append(_reading(row, probabilities))
    return readings, np.concatenate(embeddings) if embeddings else np.zeros((0, 0), np.float32)


def _crops(pixels: Rgb, card: ModelCard) -> list[Rgb]:
    return [
        crop_about(
            pixels, c.row, c.column, FIELD_UM_PER_PX, size_px=card.input_px, scale=card.input_um_per_px
        )
        for c in find_cells(pixels, FIELD_UM_PER_PX).cells
    ]  # fmt: skip


def field_figures(fields: list[FieldReading]) -> dict[str, Figure]:
    """AUROC of ALL against benign by the mean probability of a blast: by field, and by block of fields."""
    if not fields:
        return {}
    score = np.array([f.mean_blast for f in fields])
    lymphoid = np.array([f.mean_lymphoblast for f in fields])
    cells = np.array([sum(f.counts) for f in fields])
    disease = np.array([f.disease == "ALL" for f in fields])
    groups = np.array([f.group for f in fields])
    blocks = sorted(set(groups.tolist()))
    # A block's fields weigh by the cells found in them.
    by_block = np.array([np.average(score[groups == b], weights=cells[groups == b] + 1e-9) for b in blocks])
    block_disease = np.array([bool(disease[groups == b].all()) for b in blocks])
    empty = cells == 0
    return {
        "taleqani_field_auroc": by_groups(
            lambda r: auroc(score[r], disease[r]), groups.tolist(), unit="fields"
        ),
        "taleqani_field_auroc_lymphoblast": by_groups(
            lambda r: auroc(lymphoid[r], disease[r]), groups.tolist(), unit="fields"
        ),
        "taleqani_block_auroc": by_groups(
            lambda r: auroc(by_block[r], block_disease[r]), blocks, unit="blocks"
        ),
        "taleqani_fields_without_a_cell": by_groups(
            lambda r: float(empty[r].mean()), groups.tolist(), unit="fields"
        ),
    }


def _reading(row: dict[str, str], probabilities: npt.NDArray[np.float64]) -> FieldReading:
    """probabilities: of the cells found in the field ``(n, labels)``, n may be 0."""
    blast = probabilities[:, [CELL_TYPES.index("myeloblast"), CELL_TYPES.index("lymphoblast")]].sum(axis=1)
    lymphoid = probabilities[:, CELL_TYPES.index("lymphoblast")]
    counts = np.zeros(len(CELL_TYPES), np.int64)
    np.add.at(counts, probabilities.argmax(axis=1), 1)
    return FieldReading(
        field=Path(row["file"]).name,
        group=row["group"],
        disease=row["disease"],
        mean_blast=round(float(blast.mean()), 5) if len(blast) else 0.0,
        mean_lymphoblast=round(float(lymphoid.mean()), 5) if len(blast) else 0.0,
        counts=tuple(int(n) for n in counts),
    )
