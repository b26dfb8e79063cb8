"""Cells whose label is known only for the field that they lie in, or only by the box about them.

Fields of `fields/taleqani` are labelled as a whole: B-ALL, or benign hematogone controls. Cells are found in them and
given the label that the field allows: in ALL a large cell is a lymphoblast, a small one a lymphoblast or a lymphocyte;
in a benign field a cell is anything but a blast. Boxes of `detection/txl-pbc` come from healthy donors: a red cell is
no nucleated cell, a platelet is a platelet, a white cell is one of the types of healthy blood. They bring stains and
cameras that no source of labelled cells has.
"""

import csv
import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.classifier import crop_about
from models.corpus import CROP_PX, CROP_UM_PER_PX, FIELD_UM_PER_PX, CellRecord, load_pixels, with_validation
from models.detection import RED, halves, read_fields
from models.finding import find_cells
from models.labels import SOURCE_LABELS

Crops = npt.NDArray[np.uint8]

#: Nucleus from which a cell in an ALL field is taken for a lymphoblast: a small lymphocyte's has about 40 µm².
_LARGE_NUCLEUS_UM2 = 55.0
#: Cells taken from one field, so that a crowded one does not outweigh ten others.
_CELLS_A_FIELD = 4
#: Diameter of a red cell on a smear, to give each boxed image its scale.
_RED_CELL_UM = 7.5
_RED_CELLS_AN_IMAGE, _BOX_KINDS = 3, ("white", "red", "platelet")

_HEALTHY_WHITE = SOURCE_LABELS["non_blast"]
_NO_BLAST = (*_HEALTHY_WHITE, "metamyelocyte", "myelocyte", "erythroblast", "smudge_cell")


def weak_cells(data: Path) -> list[tuple[list[CellRecord], Crops]]:
    """What the corpus has besides labelled cells: cells of labelled fields and boxed cells, where there are any."""
    found = []
    if (data / "fields" / "taleqani").is_dir():
        cells, crops = field_cells(data, "train")
        found.append((with_validation(cells), crops))
    if (data / "detection" / "txl-pbc").is_dir():
        found.append(boxed_cells(data))
    return found


def field_cells(folder: Path, split: str) -> tuple[list[CellRecord], Crops]:
    """Cells found in the fields of `folder` ``/fields/taleqani`` of one split, with weak labels and crops
    uint8 RGB ``(n, 160, 160, 3)`` at 0.167 µm/px.

    Raises CorpusError when a field cannot be read.
    """
    records: list[CellRecord] = []
    crops: list[Crops] = []
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = [r for r in csv.DictReader(stream) if r["source"] == "taleqani" and r["split"] == split]
    for row in rows:
        pixels = load_pixels(folder / row["file"])
        rng = np.random.default_rng(int(row["sha256"][:8], 16))
        found = list(find_cells(pixels, FIELD_UM_PER_PX).cells)
        for i in rng.permutation(len(found))[:_CELLS_A_FIELD]:
            large = found[i].area_um2 >= _LARGE_NUCLEUS_UM2
            if row["disease"] != "ALL":
                allowed: tuple[str, ...] = _NO_BLAST
            else:
                allowed = ("lymphoblast",) if large else ("lymphoblast", "lymphocyte")
            crops.append(_cut(pixels, found[i].row, found[i].column, FIELD_UM_PER_PX))
            records.append(
                CellRecord(
                    path=folder / row["file"], source="taleqani", source_label=f"field_{row['disease']}",
                    allowed=allowed, disease=row["disease"], group=row["group"], split=split,
                    sha256=row["sha256"],
                )
            )  # fmt: skip
    return records, _stack(crops)


def boxed_cells(folder: Path) -> tuple[list[CellRecord], Crops]:
    """White cells, red cells and platelets of the tuning half of `folder` ``/detection/txl-pbc``, split "train".

    The held-out half (`models.detection.halves`) is left for measuring the finder and the network that follows it.
    Crops as in `field_cells`.
    """
    records: list[CellRecord] = []
    crops: list[Crops] = []
    fields = read_fields(folder / "detection" / "txl-pbc")
    laboratories = sorted({f.laboratory for f in fields})
    tuning = [f for name in laboratories for f in halves([f for f in fields if f.laboratory == name])[0]]
    for field in tuning:
        digest = hashlib.sha256(field.name.encode()).hexdigest()
        reds = [b for b in field.boxes if b.kind == RED]
        if not reds:
            continue
        image = folder / "detection" / "txl-pbc" / "images" / field.name
        um_per_px = _RED_CELL_UM / float(np.median([round(b.side, 6) for b in reds]))
        rng = np.random.default_rng(int(digest[:8], 16))
        some_reds = [reds[i] for i in rng.permutation(len(reds))[:_RED_CELLS_AN_IMAGE]]
        for box in [b for b in field.boxes if b.kind != RED] + some_reds:
            # To a millionth of a pixel: corners and middle differ by rounding, which may move a crop by one.
            row, column = round((box.top + box.bottom) / 2, 6), round((box.left + box.right) / 2, 6)
            name = _BOX_KINDS[box.kind]
            allowed = {
                "white": _HEALTHY_WHITE, "red": ("not_a_cell",), "platelet": ("platelet_or_artifact",),
            }[name]  # fmt: skip
            crops.append(_cut(field.pixels, row, column, um_per_px))
            records.append(
                CellRecord(
                    path=image, source="txl_pbc", source_label=f"box_{name}", allowed=allowed, disease="none",
                    group=f"txl_pbc-{image.stem}", split="train", sha256=f"{image.name}:{len(records)}",
                )
            )  # fmt: skip
    return records, _stack(crops)


def _cut(pixels: Crops, row: float, column: float, um_per_px: float) -> Crops:
    return crop_about(pixels, row, column, um_per_px, size_px=CROP_PX, scale=CROP_UM_PER_PX)


def _stack(crops: list[Crops]) -> Crops:
    return np.stack(crops) if crops else np.empty((0, CROP_PX, CROP_PX, 3), np.uint8)
