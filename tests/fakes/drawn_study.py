"""A drawn study as a reader would give it: fields with cells whose places and types are known, and their archive."""

import io
from dataclasses import dataclass
from datetime import UTC, datetime

import cv2
import numpy as np
from PIL import Image

from cds.cell_types import count_cells
from cds.deadline import Deadline
from cds.interpret import interpret
from cds.microscopy import to_dicom
from cds.pixels import instance_ref
from cds.values import (
    Assessment,
    Cell,
    ImageReading,
    ImageRef,
    ModelIdentity,
    PatternModel,
    SmearReading,
    StudyRef,
)
from models.synthetic.canvas import random_stain
from models.synthetic.fields import draw_field
from models.synthetic.studies import draw_differential

UM_PER_PX = 0.167
READ_AT = datetime(2026, 3, 4, 9, 30, tzinfo=UTC)


@dataclass(frozen=True)
class DrawnStudy:
    assessment: Assessment
    archive: "DrawnArchive"


class DrawnArchive:
    """Port `ImageArchive` of one study. out: it does not answer."""

    base_url = "http://archive.example/dicom-web"

    def __init__(self, files: dict[ImageRef, bytes]) -> None:
        self.files = files
        self.retrieved = 0

    def instances(self, study_uid: str, deadline: Deadline | None = None) -> tuple[ImageRef, ...]:
        return tuple(ref for ref in self.files if ref.study_uid == study_uid)

    def retrieve(self, image: ImageRef, deadline: Deadline | None = None) -> bytes:
        self.retrieved += 1
        return self.files[image]

    def store(self, instances: object, deadline: Deadline | None = None) -> None:
        raise NotImplementedError


def drawn_study(
    ref: StudyRef, model: ModelIdentity, pattern_model: PatternModel, *, pattern: str = "AML", fields: int = 6,
    cells_per_field: int = 8, seed: int = 5, thumbnails: int = 10_000,
) -> DrawnStudy:  # fmt: skip
    """Types are right but for a few that the machine takes for something else and is unsure of."""
    rng = np.random.default_rng(seed)
    types = draw_differential(pattern, rng, fields * cells_per_field)
    stain = random_stain(rng, spread=0.4)
    files: dict[ImageRef, bytes] = {}
    cells: list[Cell] = []
    images: list[ImageReading] = []
    for number in range(fields):
        of_field = types[number * cells_per_field : (number + 1) * cells_per_field]
        pixels, placed = draw_field(
            of_field, rng, shape=(600, 800), um_per_px=UM_PER_PX, stain=stain, crowding=0.5
        )
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=0)
        dicom = to_dicom(
            file.getvalue(), study_uid=ref.study_uid, series_uid=f"{ref.study_uid}.1", patient_id="drawn",
            um_per_px=UM_PER_PX, instance_number=number + 1,
        )  # fmt: skip
        instance = instance_ref(dicom)
        files[instance] = dicom
        images.append(
            ImageReading(
                source=instance.sop_instance_uid, cells=len(placed), quality=0.9, um_per_px=UM_PER_PX,
                scale_origin="stated",
            )
        )  # fmt: skip
        for cell in placed:
            sure = float(rng.uniform(0.72, 0.999)) if rng.uniform() > 0.12 else float(rng.uniform(0.35, 0.69))
            top, left = max(0, round(cell.row) - 54), max(0, round(cell.column) - 54)
            crop = cv2.resize(
                pixels[top : top + 108, left : left + 108], (96, 96), interpolation=cv2.INTER_AREA
            )
            _, encoded = cv2.imencode(".jpg", crop[:, :, ::-1])
            cells.append(
                Cell(
                    source=instance.sop_instance_uid, row=round(cell.row, 1), column=round(cell.column, 1),
                    cell_type=cell.cell_type, probability=round(sure, 4),
                    thumbnail=encoded.tobytes() if len(cells) < thumbnails else None,
                )
            )  # fmt: skip
    outcome = interpret(SmearReading(images=tuple(images), cells=tuple(cells)), pattern_model)
    assert count_cells(cells).total > 10
    assessment = Assessment(
        study=ref, model=model, instance_uids=tuple(sorted(i.sop_instance_uid for i in files)), outcome=outcome,
        images=tuple(images), read_at=READ_AT, seconds=6.5,
    )  # fmt: skip
    return DrawnStudy(assessment, DrawnArchive(files))
