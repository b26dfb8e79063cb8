"""Cells that stand in two splits: audit of a corpus for near duplicates, shifted, turned or mirrored ones too.

    python -m models.shifted_copies --data FOLDER [--out FILE]

Two crops of one cell need not show the same place, so neither their bytes nor their thumbnails tell. Their colours do,
nearly: for each cell of one split the few of the other splits are taken whose histograms are the most like its own, and
the middle of the one is sought in the other, in all eight ways round. How often that finds a copy is measured on the
copies that a source is known to hold within its groups.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import numpy.typing as npt

from cds.errors import LeukoError
from models.corpus import CellRecord, load_crops, read_corpus, with_validation

Crops = npt.NDArray[np.uint8]

#: Sides in pixels at which crops are compared, and of the middle that is sought.
_SIDE, _MIDDLE = 64, 38
#: Crops whose histograms are the nearest, looked at closely.
_NEAREST = 16
_BINS = 16
#: Correlation from which the middle of one crop is in the other.
COPY = 0.95
#: Source whose groups are known to hold shifted copies of one cell, by which the search itself is judged.
_KNOWN = "lisc"


@dataclass(frozen=True, slots=True)
class Copy:
    """Two cells that look like one: rows, and how well the middle of the first is found in the second (-1 to 1)."""

    first: int
    second: int
    correlation: float


def copies(crops: Crops, candidates: npt.NDArray[np.bool_]) -> list[Copy]:
    """Pairs of crops uint8 RGB ``(n, s, s, 3)`` that show the same cell, among those that `candidates`
    ``(n, n)`` allows."""
    small = [cv2.resize(c, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.uint8) for c in crops]
    histograms = np.stack([_histogram(c) for c in small])
    found = []
    for i in range(len(small)):
        others = np.flatnonzero(candidates[i])
        if not len(others):
            continue
        far = np.abs(histograms[others] - histograms[i]).sum(axis=1)
        for j in others[np.argsort(far, kind="stable")[:_NEAREST]]:
            best = _found_in(small[i], small[int(j)])
            if best >= COPY:
                found.append(Copy(i, int(j), round(best, 3)))
    return found


def audit_copies(records: Sequence[CellRecord]) -> Iterator[tuple[str, str, list[tuple[str, str]], int]]:
    """For each source and pair of splits: the source, the splits, the pairs of files (as ``source/name``), and how many
    cells of the first split were compared."""
    for source in sorted({r.source for r in records}):
        own = [r for r in records if r.source == source]
        crops = load_crops(own)
        split = np.array([r.split for r in own])
        for one, other in (("test", "train"), ("test", "validation"), ("validation", "train")):
            if not (split == one).any() or not (split == other).any():
                continue
            allowed = (split == one)[:, None] & (split == other)[None]
            pairs = [(name_of(own[c.first]), name_of(own[c.second])) for c in copies(crops, allowed)]
            yield source, f"{one}/{other}", pairs, int((split == one).sum())


def name_of(record: CellRecord) -> str:
    """What a cell is called in the audit's document."""
    return f"{record.source}/{record.path.name}"


def known_copies(records: Sequence[CellRecord]) -> tuple[int, int]:
    """Of the training cells of the source that is known to hold copies: how many find one in their own group, and of
    how many."""
    own = [r for r in records if r.source == _KNOWN and r.split == "train"]
    if not own:
        return 0, 0
    groups = np.array([r.group for r in own])
    same = (groups[:, None] == groups[None]) & ~np.eye(len(own), dtype=bool)
    return len({c.first for c in copies(load_crops(own), same)}), len(own)


def report(records: Sequence[CellRecord]) -> dict[str, Any]:
    """The figures as a document that `models.evaluation` can attach.

    `test_copies` names the test cells that show a cell of training or validation.
    """
    figures: dict[str, Any] = {}
    notes = []
    taught: set[str] = set()
    for source, splits, pairs, cells in audit_copies(records):
        concerned = {first for first, _ in pairs}
        if splits.startswith("test"):
            taught |= concerned
        figures[f"{source}.{splits}"] = {
            "value": round(len(concerned) / cells, 4), "interval": None, "n": cells,
        }  # fmt: skip
        if pairs:
            examples = ", ".join(f"{a} = {b}" for a, b in pairs[:3])
            notes.append(
                f"{source}: {len(concerned)} of {cells} cells of {splits} are copies, such as {examples}."
            )
    found, known = known_copies(records)
    if known:
        figures[f"{_KNOWN}.within_groups"] = {"value": round(found / known, 4), "interval": None, "n": known}
        notes.append(
            f"Of {known} cells of {_KNOWN}, whose groups hold shifted copies, {found} find one in their own group."
        )
    return {
        "command": "python -m models.shifted_copies --data FOLDER", "figures": figures,
        "notes": ["Share of the cells of the first split that show a cell of the second.", *notes],
        "test_copies": sorted(taught),
    }  # fmt: skip


def _histogram(crop: Crops) -> npt.NDArray[np.float32]:
    counts = [np.histogram(crop[..., c], bins=_BINS, range=(0, 256))[0] for c in range(3)]
    return (np.concatenate(counts) / crop[..., 0].size).astype(np.float32)


def _found_in(crop: Crops, other: Crops) -> float:
    """The best correlation of the middle of `crop`, in any of the eight ways round, with a place in `other`."""
    start = (_SIDE - _MIDDLE) // 2
    middle = cv2.cvtColor(crop[start : start + _MIDDLE, start : start + _MIDDLE], cv2.COLOR_RGB2GRAY).astype(
        np.uint8
    )
    field = cv2.cvtColor(other, cv2.COLOR_RGB2GRAY)
    best = -1.0
    for way in range(8):
        turned = np.ascontiguousarray(np.rot90(middle[:, ::-1] if way >= 4 else middle, way % 4))
        if turned.std() < 1:  # blank: it is found everywhere
            return -1.0
        best = max(best, float(cv2.matchTemplate(field, turned, cv2.TM_CCOEFF_NORMED).max()))
    return best


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True), required=True, help="Folder of manifest.csv."
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="JSON file for the figures.")
def main(data: Path, out: Path | None) -> None:
    """Look for cells of DATA that stand in two splits."""
    try:
        document = report(with_validation(read_corpus(data)))
    except LeukoError as error:
        raise click.ClickException(str(error)) from error
    for name, figure in document["figures"].items():
        click.echo(f"{name}: {figure['value']} (n = {figure['n']})")
    for note in document["notes"]:
        click.echo(note)
    if out is not None:
        out.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
