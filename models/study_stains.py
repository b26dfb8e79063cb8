"""The stains of a corpus's studies, for fitting and measuring: each stored cell is read as serving would read it.

A study is what one smear's cells come from: a patient where the source has patients, else all that one laboratory gave
to a split.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from models.classifier import crop_about
from models.corpus import CROP_PX, CROP_UM_PER_PX, CellRecord, load_crops
from models.stain_normalisation import (
    ENOUGH,
    UNCHANGED,
    Correction,
    Stain,
    Target,
    brought,
    correction,
    mean_stain,
    stain_of,
)
from models.white_balance import neutral

Crops = npt.NDArray[np.uint8]

#: Sources whose groups are patients; taleqani's are blocks of fields, which is as near as can be had.
PATIENT_SOURCES = ("hopkins", "lyon", "taleqani")
#: Cells without which a study's stain does not count towards the target.
_FEWEST_CELLS = 8


def study_of(record: CellRecord) -> str:
    """Name of the study that a cell belongs to."""
    return record.group if record.source in PATIENT_SOURCES else f"{record.source} ({record.split})"


def stored_views(crops: Crops, size_px: int, um_per_px: float) -> Crops:
    """Stored crops ``(n, 160, 160, 3)`` as the reader would cut them out of an image of the same scale."""
    middle = CROP_PX / 2
    return np.stack(
        [crop_about(c, middle, middle, CROP_UM_PER_PX, size_px=size_px, scale=um_per_px) for c in crops]
    )


def rows_of_studies(records: Sequence[CellRecord]) -> dict[str, list[int]]:
    """Rows of the cells of each study, in their order."""
    rows: dict[str, list[int]] = defaultdict(list)
    for i, record in enumerate(records):
        rows[study_of(record)].append(i)
    return dict(rows)


def corrections(
    rows: Mapping[str, Sequence[int]], load: Callable[[Sequence[int]], Crops], target: Target | None
) -> dict[str, Correction]:
    """The correction of each study. load: gives the crops of rows as the reader cuts them out, ``(n, s, s, 3)``."""
    if target is None:
        return dict.fromkeys(rows, UNCHANGED)
    return {study: correction(load(_evenly(own)), target) for study, own in rows.items()}


def corrected(crops: Crops, rows: Mapping[str, Sequence[int]], of: Mapping[str, Correction]) -> Crops:
    """All crops ``(n, s, s, 3)``, each with its study's correction."""
    result = crops.copy()
    for study, own in rows.items():
        result[list(own)] = brought(crops[list(own)], of[study])
    return result


def load_corrected(
    records: Sequence[CellRecord],
    target: Target | None,
    cut: Callable[[Crops], Crops],
    *,
    of: Sequence[CellRecord] = (),
) -> Crops:
    """Stored crops ``(n, 160, 160, 3)`` of `records`, each as it would look in the target's laboratories.

    cut: from stored crops to what the reader cuts out, by which the stains are read. of: the records from which each
    study's stain is read, by default `records`.
    """  # fmt: skip
    crops = load_crops(records)
    whole = list(of) or list(records)
    found = corrections(rows_of_studies(whole), lambda r: cut(load_crops([whole[i] for i in r])), target)
    return corrected(crops, rows_of_studies(records), found)


def corrected_weak(
    cells: Sequence[CellRecord], crops: Crops, target: Target | None, cut: Callable[[Crops], Crops]
) -> Crops:
    """The same for weakly labelled cells, whose crops are in memory."""
    rows = rows_of_studies(cells)
    return corrected(crops, rows, corrections(rows, lambda r: cut(crops[list(r)]), target))


def fit_target(records: Sequence[CellRecord], cut: Callable[[Crops], Crops]) -> Target | None:
    """The training cells' mean stain, each study weighing as its cells; None when none can be read."""
    found = training_stains(records, cut)
    return Target(stain=mean_stain(*zip(*found, strict=True))) if found else None


def training_stains(records: Sequence[CellRecord], cut: Callable[[Crops], Crops]) -> list[tuple[Stain, int]]:
    """The stain of every training study in which it can be read, and the number of its cells."""
    taught = [r for r in records if r.split == "train"]
    found = []
    for _, rows in sorted(rows_of_studies(taught).items()):
        stain = None
        if len(rows) >= _FEWEST_CELLS:
            stain = stain_of(neutral(cut(load_crops([taught[i] for i in _evenly(rows)]))))
        if stain is not None:
            found.append((stain, len(rows)))
    return found


def _evenly(rows: Sequence[int]) -> list[int]:
    """At most ENOUGH of the rows: a corpus lists a study's cells by type."""
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), ENOUGH)).round().astype(int)
    return [rows[i] for i in chosen]
