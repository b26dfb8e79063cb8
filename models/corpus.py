"""The manifest of single-cell images, read, checked and split by group.

``manifest.csv`` has one row per image: file, source, cell_type, disease, group, split, …, sha256. `group` is what
must never be divided: a patient, or a block of acquisition numbers where the source names no patient.
"""

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from models.errors import CorpusError
from models.labels import CELL_TYPES, allowed_types

#: Side of the stored single-cell images in pixels, and their scale in µm/px.
CROP_PX = 160
CROP_UM_PER_PX = 0.167
#: Nominal scale of the fields of the source `taleqani`, which states none: a red cell is 16 to 20 px across.
FIELD_UM_PER_PX = 0.4

_COLUMNS = {"file", "source", "cell_type", "disease", "group", "split", "sha256"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRecord:
    """One labelled single-cell image."""

    path: Path
    source: str
    #: The label in the source's own words.
    source_label: str
    #: The network's types that this label allows (one, or several where the label is partial).
    allowed: tuple[str, ...]
    disease: str
    group: str
    #: "train", "validation" or "test".
    split: str
    sha256: str

    @property
    def label(self) -> str:
        """The type, or the first of the allowed ones where the label is partial."""
        return self.allowed[0]


def read_corpus(folder: Path) -> list[CellRecord]:
    """Single cells (``cells/…``) of ``folder/manifest.csv``, with merged labels; types left out are left out.

    Raises CorpusError when the manifest is missing or malformed, a group of any of its rows (fields too) stands in two
    splits, a label is unknown, or a file is absent.
    """
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        raise CorpusError(f"no manifest.csv in {folder}")
    with manifest.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if missing := _COLUMNS - set(reader.fieldnames or ()):
            raise CorpusError(f"{manifest} lacks the columns {', '.join(sorted(missing))}")
        everything = list(reader)
    _whole_groups(manifest, everything)
    rows = [row for row in everything if row["file"].startswith("cells/")]
    records = [record for row in rows if (record := _record(folder, row)).allowed]
    absent = [str(r.path) for r in records if not r.path.is_file()]
    if absent:
        raise CorpusError(f"{len(absent)} images of the manifest are absent, the first: {absent[0]}")
    return records


def _whole_groups(manifest: Path, rows: Sequence[Mapping[str, str]]) -> None:
    splits: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in rows:
        splits[row["source"], row["group"]].add(row["split"])
    if torn := sorted(key for key, found in splits.items() if len(found) > 1 and key[1]):
        raise CorpusError(
            f"{manifest}: {len(torn)} groups stand in two splits, the first: {torn[0][1]} of {torn[0][0]}"
        )


def with_validation(records: Sequence[CellRecord], *, share: float = 0.1, seed: int = 0) -> list[CellRecord]:
    """Move about `share` of each source's training groups to "validation", whole groups only.

    Groups are drawn within strata of source and disease, so that validation sees every disease; a stratum of
    a single group keeps it for training.
    """
    strata: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        if record.split == "train":
            # Barcelona's blocks hold one type each: without the label in the key a type might go unvalidated.
            own = record.source_label if record.disease == "none" else record.disease
            strata[(record.source, own)].add(record.group)
    rng = np.random.default_rng(seed)
    held: set[str] = set()
    for _, groups in sorted(strata.items()):
        ordered = sorted(groups - held)
        if len(groups) > 1 and ordered:
            count = min(max(1, round(share * len(groups))), len(ordered), len(groups) - 1)
            held |= {str(g) for g in rng.choice(ordered, size=count, replace=False)}
    return [replace(r, split="validation") if r.split == "train" and r.group in held else r for r in records]


def audit(records: Iterable[CellRecord], *, required: Sequence[str] = ()) -> dict[str, int]:
    """Check that no group and no identical image stands in two splits; returns counts of images by split.

    Raises CorpusError naming the first offenders, or a `required` type that has no training image.
    """
    records = list(records)
    for what, key in (("group", _group_of), ("image (sha256)", _content_of)):
        splits: dict[str, set[str]] = defaultdict(set)
        for record in records:
            splits[key(record)].add(record.split)
        if torn := sorted(name for name, found in splits.items() if len(found) > 1):
            raise CorpusError(
                f"{len(torn)} {what}s stand in two splits, the first: {torn[0]} in "
                + " and ".join(sorted(splits[torn[0]]))
            )
    taught = {r.label for r in records if r.split == "train" and len(r.allowed) == 1}
    if untaught := [name for name in required if name not in taught]:
        raise CorpusError(f"no training image of {', '.join(untaught)}")
    return dict(Counter(r.split for r in records))


def load_crops(records: Sequence[CellRecord], *, verify: bool = False) -> npt.NDArray[np.uint8]:
    """All images in memory: uint8 RGB ``(n, 160, 160, 3)``. verify: compare each file with its sha256.

    Raises CorpusError for an unreadable image, another size, or (verifying) changed content.
    """
    crops = np.empty((len(records), CROP_PX, CROP_PX, 3), np.uint8)
    for i, record in enumerate(records):
        data = record.path.read_bytes()
        if verify and hashlib.sha256(data).hexdigest() != record.sha256:
            raise CorpusError(f"{record.path} is not the image that the manifest lists")
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if image is None or image.shape != (CROP_PX, CROP_PX, 3):
            raise CorpusError(f"{record.path} is no {CROP_PX} x {CROP_PX} colour image")
        crops[i] = image[:, :, ::-1]
    return crops


def load_pixels(path: Path) -> npt.NDArray[np.uint8]:
    """An image of any size, RGB ``(r, c, 3)``. Raises CorpusError when there is none or it cannot be read."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
    if pixels is None:
        raise CorpusError(f"{path} cannot be read as an image")
    return np.ascontiguousarray(pixels[:, :, ::-1]).astype(np.uint8)


def label_matrix(records: Sequence[CellRecord]) -> npt.NDArray[np.bool_]:
    """Which types each record's label allows: ``(n, len(CELL_TYPES))``."""
    matrix = np.zeros((len(records), len(CELL_TYPES)), bool)
    for i, record in enumerate(records):
        matrix[i, [CELL_TYPES.index(t) for t in record.allowed]] = True
    return matrix


def _group_of(record: CellRecord) -> str:
    return record.group


def _content_of(record: CellRecord) -> str:
    return record.sha256


def _record(folder: Path, row: dict[str, str]) -> CellRecord:
    if row["split"] not in ("train", "test") or not row["group"]:
        raise CorpusError(f"{row['file']}: split must be train or test and group must be named")
    try:
        allowed = allowed_types(row["cell_type"])
    except KeyError:
        raise CorpusError(f"{row['file']}: unknown cell type {row['cell_type']!r}") from None
    return CellRecord(
        path=folder / row["file"],
        source=row["source"],
        source_label=row["cell_type"],
        allowed=allowed,
        disease=row["disease"],
        group=row["group"],
        split=row["split"],
        sha256=row["sha256"],
    )
