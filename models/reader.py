"""Read a study's images: gate, find the cells, classify them, and say what was seen in each image.

Images are taken one by one and let go again; only crops of the cells stay, and thumbnails of the telling ones.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cds.cell_types import NOT_A_CELL, informative
from cds.deadline import Deadline
from cds.errors import PackageError
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
from models import ood
from models.classifier import BATCH, CropClassifier, crop_about
from models.finding import find_cells
from models.package import ModelCard, load_card, package_digest
from models.quality import check_quality
from models.scale import ScaledImage, with_scale

#: Thumbnails kept of one study, and their side.
THUMBNAILS = 150
THUMBNAIL_PX = 96
#: Share of the found objects that must not be `not_a_cell`, once there are enough to judge by.
_MIN_CELL_SHARE = 0.25
_ENOUGH_TO_JUDGE = 12


def open_reader(folder: Path) -> "PackageReader":
    """The reader of the package in `folder`. Raises PackageError when it is incomplete, altered or of another kind."""
    card = load_card(folder)
    distribution = ood.load(folder / card.ood_file) if card.ood_file else None
    classifier = CropClassifier(card, folder)
    if distribution is not None and distribution.mean.size != classifier.features:
        raise PackageError(
            f"{card.ood_file} is about embeddings of {distribution.mean.size} numbers, the network gives "
            f"{classifier.features}"
        )
    return PackageReader(card, classifier, distribution)


class PackageReader:
    """A SmearReader (see `cds.ports`) made of a card, a classifier and the training cells' distribution."""

    def __init__(
        self, card: ModelCard, classifier: CropClassifier, distribution: ood.EmbeddingModel | None
    ) -> None:
        self._card, self._classifier, self._distribution = card, classifier, distribution
        self._identity = ModelIdentity(
            name=card.name, version=card.version, digest=package_digest(card.document)
        )

    @property
    def identity(self) -> ModelIdentity:
        return self._identity

    @property
    def pattern_model(self) -> PatternModel:
        return self._card.pattern_model

    def read(
        self, images: Iterable[SmearImage | RefusedImage], deadline: Deadline | None = None
    ) -> SmearReading:
        """See `cds.ports.SmearReader`. Raises DeadlineExceeded when the time is up."""
        study = _Study()
        for scaled in study.timed_each("retrieve", with_scale(images)):
            if deadline is not None:
                deadline.check()
            if isinstance(scaled, RefusedImage):
                study.readings.append(ImageReading(source=scaled.source, refused=scaled.reason))
                study.undecoded += 1
                continue
            self._look_at(scaled, study, deadline)
        self._classify(study)
        return study.reading(self._distribution)

    def _look_at(self, scaled: ScaledImage, study: "_Study", deadline: Deadline | None) -> None:
        """Gate one image and cut out its cells; classify whenever a batch is full, as one image may hold thousands."""
        image, um_per_px = scaled.image, scaled.um_per_px
        reading = ImageReading(source=image.source, um_per_px=round(um_per_px, 5), scale_origin=scaled.origin)
        with study.timed("quality"):
            quality = check_quality(image.pixels, um_per_px)
        study.readings.append(replace(reading, quality=quality.score, refused=quality.refused))
        if quality.refused is not None:
            return
        with study.timed("find"):
            found = find_cells(image.pixels, um_per_px)
        study.set_aside[len(study.readings) - 1] += found.set_aside
        for cell in found.cells:
            study.crops.append(
                crop_about(
                    image.pixels, cell.row, cell.column, um_per_px,
                    size_px=self._card.input_px, scale=self._card.input_um_per_px,
                )
            )  # fmt: skip
            study.waiting.append((len(study.readings) - 1, cell.row, cell.column))
            if len(study.crops) >= BATCH:
                self._classify(study)
                if deadline is not None:
                    deadline.check()

    def _classify(self, study: "_Study") -> None:
        """Classify the crops that wait."""
        if not study.crops:
            return
        with study.timed("classify"):
            probabilities, embeddings = self._classifier.classify(np.stack(study.crops))
            if self._distribution is not None:
                study.distances.extend(self._distribution.distance(embeddings).tolist())
        for crop, (image, row, column), p in zip(study.crops, study.waiting, probabilities, strict=True):
            label = self._card.labels[int(p.argmax())]
            if label == NOT_A_CELL:
                study.set_aside[image] += 1
                study.not_cells += 1
                continue
            study.counted[image] += 1
            study.add(
                Cell(
                    source=study.readings[image].source, row=round(row, 1), column=round(column, 1),
                    cell_type=label, probability=round(float(p.max()), 4),
                ),
                crop,
            )  # fmt: skip
        study.crops.clear()
        study.waiting.clear()


@dataclass(slots=True)
class _Study:
    """What has been seen so far in one study."""

    readings: list[ImageReading] = field(default_factory=list)
    undecoded: int = 0
    #: Crops not classified yet, and where each is: index of its reading, row, column.
    crops: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    waiting: list[tuple[int, float, float]] = field(default_factory=list)
    cells: list[Cell] = field(default_factory=list)
    thumbnails: dict[int, bytes] = field(default_factory=dict)
    counted: Counter[int] = field(default_factory=Counter)
    set_aside: Counter[int] = field(default_factory=Counter)
    not_cells: int = 0
    distances: list[float] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, cell: Cell, crop: npt.NDArray[np.uint8]) -> None:
        self.thumbnails[len(self.cells)] = _thumbnail(crop)
        self.cells.append(cell)
        if len(self.thumbnails) > 4 * THUMBNAILS:
            self._prune()

    def reading(self, distribution: ood.EmbeddingModel | None) -> SmearReading:
        self._prune()
        images = tuple(
            replace(reading, cells=self.counted[i], cells_refused=self.set_aside[i])
            for i, reading in enumerate(self.readings)
        )
        return SmearReading(
            images=images,
            cells=tuple(replace(c, thumbnail=self.thumbnails.get(i)) for i, c in enumerate(self.cells)),
            not_analysed=self._not_analysed(distribution),
            seconds={step: round(seconds, 4) for step, seconds in self.seconds.items()},
        )

    def _prune(self) -> None:
        kept = informative([self.cells[i] for i in self.thumbnails], THUMBNAILS)
        numbers = list(self.thumbnails)
        self.thumbnails = {numbers[k]: self.thumbnails[numbers[k]] for k in sorted(kept)}

    def _not_analysed(self, distribution: ood.EmbeddingModel | None) -> NotAnalysed | None:
        total = len(self.readings)
        if total == 0:
            return NotAnalysed(reason=NotAnalysedReason.NO_IMAGES, detail="The study holds no images.")
        refused = [r.refused for r in self.readings if r.refused is not None]
        if len(refused) == total:
            decoded = self.undecoded < total
            return NotAnalysed(
                reason=NotAnalysedReason.POOR_QUALITY if decoded else NotAnalysedReason.UNREADABLE,
                detail=f"None of the study's {total} images can be read: {_most_frequent(refused)}.",
            )
        candidates = len(self.cells) + self.not_cells
        if candidates >= _ENOUGH_TO_JUDGE and len(self.cells) < _MIN_CELL_SHARE * candidates:
            return NotAnalysed(
                reason=NotAnalysedReason.OUT_OF_DISTRIBUTION,
                detail=f"Only {len(self.cells)} of {candidates} stained objects look like blood cells: "
                "this does not seem to be a blood smear.",
            )
        if not self.cells:
            return NotAnalysed(
                reason=NotAnalysedReason.TOO_FEW_CELLS,
                detail=f"No nucleated cell was found in {total - len(refused)} readable images.",
            )
        if distribution is not None and float(np.median(self.distances)) > distribution.threshold:
            share = float(np.mean(np.array(self.distances) > distribution.threshold))
            return NotAnalysed(
                reason=NotAnalysedReason.OUT_OF_DISTRIBUTION,
                detail=f"{share:.0%} of {len(self.distances)} cells are unlike any that the model was trained on.",
            )
        return None

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[step] += time.perf_counter() - began

    def timed_each(
        self, step: str, images: Iterator[ScaledImage | RefusedImage]
    ) -> Iterator[ScaledImage | RefusedImage]:
        while True:
            with self.timed(step):
                image = next(images, None)
            if image is None:
                return
            yield image


def _thumbnail(crop: npt.NDArray[np.uint8]) -> bytes:
    if crop.shape[0] != THUMBNAIL_PX:
        crop = cv2.resize(crop, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA).astype(np.uint8)
    ok, encoded = cv2.imencode(".jpg", crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    if not ok:
        raise RuntimeError("OpenCV cannot encode a JPEG")
    return encoded.tobytes()


def _most_frequent(reasons: list[str]) -> str:
    """The up to three kinds of reason met most often, with how often; the kind is what stands before the colon."""
    examples: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for reason in reasons:
        kind = reason.split(":")[0]
        examples.setdefault(kind, reason)
        counts[kind] += 1
    return "; ".join(f"{count} × {examples[kind].rstrip('.')}" for kind, count in counts.most_common(3))
