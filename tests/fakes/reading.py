"""A reader that sees in every image what it is told, and an archive of images without HTTP."""

import time
from collections.abc import Iterable, Sequence

from cds.deadline import Deadline
from cds.errors import UpstreamNotFound
from cds.values import (
    Cell,
    ImageReading,
    ImageRef,
    ModelIdentity,
    NotAnalysed,
    PatternModel,
    RefusedImage,
    SmearImage,
    SmearReading,
)
from tests.fakes.assessments import MODEL
from tests.fakes.images import SERIES_UID, STUDY_UID, dicom_file, drawing

#: Says AML the surer, the more blasts there are.
PATTERN_MODEL = PatternModel(
    features=("share:blasts",),
    weights=((-20.0,), (0.0,), (20.0,), (0.0,), (0.0,)),
    bias=(5.0, 0.0, 0.0, 0.0, 0.0),
    min_cells=10,
    min_probability=0.5,
)


class FakeReader:
    """Port `SmearReader`. Finds `cells` in each image, after `seconds`; `not_analysed` and `error` come before."""

    pattern_model = PATTERN_MODEL

    def __init__(
        self,
        *,
        cells: Sequence[str] = ("myeloblast",) * 30,
        not_analysed: NotAnalysed | None = None,
        error: Exception | None = None,
        seconds: float = 0.0,
        identity: ModelIdentity = MODEL,
    ) -> None:
        self.identity = identity
        self.cells, self.not_analysed, self.error, self.seconds = cells, not_analysed, error, seconds
        self.studies_read = 0

    def read(
        self, images: Iterable[SmearImage | RefusedImage], deadline: Deadline | None = None
    ) -> SmearReading:
        self.studies_read += 1
        readings, cells = [], []
        for image in images:
            if self.error is not None:
                raise self.error
            self._take_time(deadline)
            if isinstance(image, RefusedImage):
                readings.append(ImageReading(source=image.source, refused=image.reason))
                continue
            readings.append(ImageReading(source=image.source, cells=len(self.cells), quality=0.9))
            cells += [
                Cell(source=image.source, row=1, column=n, cell_type=cell_type, probability=0.9)
                for n, cell_type in enumerate(self.cells)
            ]
        return SmearReading(images=tuple(readings), cells=tuple(cells), not_analysed=self.not_analysed)

    def _take_time(self, deadline: Deadline | None) -> None:
        ends = time.monotonic() + self.seconds
        while True:
            if deadline is not None:
                deadline.check()
            left = ends - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.02))


class ListArchive:
    """Port `ImageArchive`: so many instances of one study. failures: what successive calls raise instead."""

    base_url = "http://archive.example/dicom-web"

    def __init__(self, count: int, study_uid: str = STUDY_UID) -> None:
        self.files = {
            f"2.25.{5000 + n}": dicom_file(
                drawing(seed=n), SOPInstanceUID=f"2.25.{5000 + n}", StudyInstanceUID=study_uid
            )
            for n in range(count)
        }
        self.study_uid = study_uid
        self.failures: list[Exception] = []
        self.retrieved: list[str] = []

    def instances(self, study_uid: str, deadline: Deadline | None = None) -> tuple[ImageRef, ...]:
        if self.failures:
            raise self.failures.pop(0)
        if study_uid != self.study_uid:
            return ()
        return tuple(
            ImageRef(study_uid=study_uid, series_uid=SERIES_UID, sop_instance_uid=uid) for uid in self.files
        )

    def retrieve(self, image: ImageRef, deadline: Deadline | None = None) -> bytes:
        if image.sop_instance_uid not in self.files:
            raise UpstreamNotFound("no such instance")
        self.retrieved.append(image.sop_instance_uid)
        return self.files[image.sop_instance_uid]

    def store(self, instances: Sequence[bytes], deadline: Deadline | None = None) -> None:
        raise NotImplementedError
