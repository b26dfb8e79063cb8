"""A small corpus on disk: a manifest and drawn cells, each image a different one."""

import csv
import hashlib
from pathlib import Path

import cv2
import numpy as np

from models.labels import CELL_TYPES, SOURCE_LABELS
from models.synthetic.cells import draw_cell

COLUMNS = ("file", "source", "cell_type", "disease", "group", "split", "origin_path", "sha256")


def write_corpus(folder: Path, rows: list[tuple[str, str, str, str, str]]) -> Path:
    """rows: source, cell_type, disease, group, split. Images are drawn, each a different one."""
    lines = []
    for i, (source, cell_type, disease, group, split) in enumerate(rows):
        drawn = SOURCE_LABELS.get(cell_type, (cell_type,))
        image = draw_cell(
            drawn[0] if drawn and drawn[0] in CELL_TYPES else "lymphocyte", np.random.default_rng(i)
        )
        file = f"cells/{source}/{i:04d}.png"
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image[:, :, ::-1])
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append((file, source, cell_type, disease, group, split, "", digest))
    with (folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows(lines)
    return folder
