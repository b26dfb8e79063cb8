"""A SmearReader without a network: every readable image shows the same number of myeloblasts."""

from collections.abc import Iterable

from cds.deadline import Deadline
from cds.values import (
    Cell,
    ImageReading,
    ModelIdentity,
    NotAnalysed,
    NotAnalysedReason,
    PatternModel,
    RefusedImage,
    SmearImage,
    SmearReading,
)

#: Leans to AML whatever the differential is.
PATTERN_MODEL = PatternModel(
    features=(),
    weights=((), (), (), (), ()),
    bias=(0.0, 0.0, 6.0, 0.0, 0.0),
    min_cells=1,
    min_probability=0.1,
)


class FakeSmearReader:
    identity = ModelIdentity(name="fake", version="0", digest="f" * 64)
    pattern_model = PATTERN_MODEL

    def __init__(self, cells_per_image: int = 50) -> None:
        self._cells = cells_per_image
        #: Scale of each image read, as it arrived.
        self.scales: list[float | None] = []

    def read(
        self, images: Iterable[SmearImage | RefusedImage], deadline: Deadline | None = None
    ) -> SmearReading:
        readings: list[ImageReading] = []
        cells: list[Cell] = []
        for image in images:
            if isinstance(image, RefusedImage):
                readings.append(ImageReading(source=image.source, refused=image.reason))
                continue
            self.scales.append(image.um_per_px)
            readings.append(ImageReading(source=image.source, cells=self._cells, quality=0.9))
            cells += [
                Cell(source=image.source, row=1, column=1, cell_type="myeloblast", probability=0.9)
            ] * self._cells
        if not cells:
            reason = NotAnalysedReason.UNREADABLE if readings else NotAnalysedReason.NO_IMAGES
            refusal = NotAnalysed(reason=reason, detail=f"None of {len(readings)} images can be read.")
            return SmearReading(images=tuple(readings), not_analysed=refusal)
        return SmearReading(images=tuple(readings), cells=tuple(cells))
