"""De-identified images of a laboratory in the layout that `models.corpus` reads: ``manifest.csv`` and files.

    dicom/<uid>.dcm                      the de-identified instance
    fields/<source>/<disease>/<uid>.*    its picture: the stripped JPEG, else a PNG
    cells/<source>/<type>/<uid>-<n>.png  a labelled cell, 160 px at 0.167 µm/px

`group` is the patient's pseudonym, and a patient stands in one split, today and in every later export with that key.
"""

import csv
import hashlib
import io
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cds.deidentify import Deidentified, Pseudonyms, deidentify
from cds.errors import BadRequest, UnreadableImage
from cds.image_files import PixelLimits
from cds.values import RefusedImage
from models.classifier import crop_about
from models.corpus import CROP_PX, CROP_UM_PER_PX
from models.labels import SOURCE_LABELS

COLUMNS = ("file", "source", "cell_type", "disease", "group", "split", "origin_path", "sha256")
DISEASES = ("ALL", "AML", "CLL", "CML", "none", "unknown")
#: Of ten patients so many are kept for the test.
_TEST_TENTHS = 2
_SOURCE = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CellLabel:
    """A cell that a person has typed. row, column: its centre in pixels of the instance.

    Raises ValueError for a type that the corpus reader would not know.
    """

    sop_instance_uid: str
    row: float
    column: float
    #: As `models.labels.SOURCE_LABELS` names it.
    cell_type: str

    def __post_init__(self) -> None:
        if self.cell_type not in SOURCE_LABELS:
            raise ValueError(f"no cell type that the corpus knows: {self.cell_type!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyLabels:
    """What people have said of a study. disease: as in DISEASES."""

    disease: str = "unknown"
    cells: tuple[CellLabel, ...] = ()

    def __post_init__(self) -> None:
        if self.disease not in DISEASES:
            raise ValueError(f"no disease that the corpus knows: {self.disease!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    images: int
    cells: int
    refused: tuple[RefusedImage, ...]


def export(
    files: Iterable[tuple[str, bytes]],
    folder: Path,
    *,
    source: str,
    pseudonyms: Pseudonyms,
    labels: Callable[[str], StudyLabels],
    limits: PixelLimits,
    labelled_only: bool = False,
) -> Exported:
    """Write de-identified copies of DICOM files and bring `folder`'s manifest up to date.

    files: a name to call each by, and its bytes. source: names the laboratory in the manifest. labels: of a Study
    Instance UID. labelled_only: leave out studies without a disease and labelled cells. Raises BadRequest for a source
    that cannot be a folder's name, and UpstreamError as `files` and `labels` do.
    """
    if not _SOURCE.fullmatch(source):
        raise BadRequest("a source is named by small letters, digits, - and _")
    rows = _read_manifest(folder / "manifest.csv")
    known: dict[str, StudyLabels] = {}
    refused: list[RefusedImage] = []
    images = cells = 0
    for name, data in files:
        try:
            image = deidentify(data, pseudonyms, limits)
        except UnreadableImage as problem:
            refused.append(RefusedImage(source=name, reason=str(problem)))
            continue
        if image.study_uid not in known:
            known[image.study_uid] = labels(image.study_uid)
        said = known[image.study_uid]
        own = [cell for cell in said.cells if cell.sop_instance_uid == image.sop_instance_uid]
        if labelled_only and said.disease == "unknown" and not own:
            continue
        for row in _write(image, said.disease, own, folder, source, pseudonyms):
            rows[row["file"]] = row
            cells += row["cell_type"] != "field"
        images += 1
    _write_manifest(folder / "manifest.csv", rows)
    return Exported(images=images, cells=cells, refused=tuple(refused))


def _write(
    image: Deidentified,
    disease: str,
    cells: Iterable[CellLabel],
    folder: Path,
    source: str,
    pseudonyms: Pseudonyms,
) -> list[dict[str, str]]:
    stem = pseudonyms.name("file", image.new_uid)
    _put(folder / "dicom" / f"{stem}.dcm", image.data)
    picture = image.jpeg or _png(image.pixels)
    field = f"fields/{source}/{disease}/{stem}.{'jpg' if image.jpeg else 'png'}"
    contents = {field: ("field", picture)}
    if image.um_per_px is not None:
        for number, cell in enumerate(cells):
            crop = crop_about(
                image.pixels, cell.row, cell.column, image.um_per_px, size_px=CROP_PX, scale=CROP_UM_PER_PX
            )
            contents[f"cells/{source}/{cell.cell_type}/{stem}-{number}.png"] = (cell.cell_type, _png(crop))
    rows = []
    for file, (cell_type, content) in contents.items():
        _put(folder / file, content)
        rows.append({
            "file": file, "source": source, "cell_type": cell_type, "disease": disease,
            "group": f"{source}-{image.patient}", "split": _split(image.patient), "origin_path": "",
            "sha256": hashlib.sha256(content).hexdigest(),
        })  # fmt: skip
    return rows


def _split(patient: str) -> str:
    """By the pseudonym, which is as good as drawn: the same patient always comes into the same split."""
    return "test" if int(patient, 16) % 10 < _TEST_TENTHS else "train"


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    done, data = cv2.imencode(".png", np.ascontiguousarray(pixels[:, :, ::-1]))
    if not done:
        raise UnreadableImage("it cannot be written as PNG")
    return data.tobytes()


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _read_manifest(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise BadRequest(f"{path} is no manifest of an export: name a folder of its own")
        return {row["file"]: row for row in reader}


def _write_manifest(path: Path, rows: Mapping[str, Mapping[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[file] for file in sorted(rows))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".csv.part")
    beside.write_text(text.getvalue(), encoding="utf-8")
    beside.replace(path)
