"""Read a study's images: gate, find the cells, classify them, and say what was seen in each image.

Images are taken one by one and let go again; only crops of the cells stay, and thumbnails of the telling ones.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import numpy.typing as npt

from cds.cell_types import NOT_A_CELL, informative
from cds.deadline import Deadline
from cds.errors import PackageError
from cds.language import message
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
from models.explanation import Explanation, activation_map
from models.finding import find_cells
from models.package import ModelCard, load_card, package_digest
from models.quality import DISCREDITING, check_quality
from models.refusals import kind_of, most_frequent
from models.scale import ScaledImage, with_scale
from models.stain_normalisation import ENOUGH, UNCHANGED, Correction, brought, correction

#: Thumbnails kept of one study, and their side.
THUMBNAILS = 150
THUMBNAIL_PX = 96
#: Share of the found objects that must not be `not_a_cell`, once there are enough to judge by.
_MIN_CELL_SHARE = 0.25
_ENOUGH_TO_JUDGE = 12
#: Share of the cells that may lie beyond the embedding's threshold: half do in the hardest good studies of training.
_MAX_STRANGE_SHARE = 2 / 3


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
        """See `cds.ports.SmearReader`. Raises DeadlineExceeded when the time is up.

        One thread takes the images and cuts out their cells, this one classifies the batch before: the two overlap,
        as decoders, OpenCV and ONNX Runtime let go of the interpreter. Batches are the same as without, and so are
        the answers. Where the card asks for it, the first cells wait until there are enough of them to tell the study's
        stain by; all are then read as the training laboratories would have stained them. `images` are iterated in that
        thread alone, which has ended when this returns or raises.
        """
        study, stop = _Study(), Event()
        with (
            closing(self._batches(images, study, deadline, stop)) as batches,
            ThreadPoolExecutor(1, thread_name_prefix="smear") as thread,
        ):
            try:
                waiting: list[_Batch] = []
                waits = self._card.stain is not None
                ahead = thread.submit(copy_context().run, _next, batches)
                while (batch := ahead.result()) is not None or waiting:
                    waiting += [] if batch is None else [batch]
                    if batch is not None:
                        ahead = thread.submit(copy_context().run, _next, batches)
                    if waits and batch is not None and sum(len(b.cells) for b in waiting) < ENOUGH:
                        continue
                    if waits:
                        study.correction = self._correction(waiting, study)
                        waits = False
                    while waiting:
                        self._classify(waiting.pop(0), study)
                        if deadline is not None:
                            deadline.check()
            finally:
                stop.set()  # what is still being made is not waited for to its end
        return study.reading(self._distribution)

    def explain(
        self,
        crop: npt.NDArray[np.uint8],
        cell_type: str | None = None,
        study: Sequence[npt.NDArray[np.uint8]] = (),
    ) -> Explanation:
        """Where a cell's square crop ``(s, s, 3)`` of any size speaks for `cell_type`, by default the likeliest.

        The probability is that type's. study: crops of the study's first cells, by which its stain is told as in
        reading; without them the cell is read in its own colours. Raises PackageError when the package has no
        activation maps or not that type.
        """
        side = self._card.input_px
        crop = _resized(crop, side)
        seen = crop[None]
        if study:
            seen = brought(seen, correction(np.stack([_resized(c, side) for c in study]), self._card.stain))
        if cell_type is not None and cell_type not in self._card.labels:
            raise PackageError(f"{self._card.name} knows no {cell_type}")
        activation = self._classifier.activations(seen)[0]
        probabilities = self._classifier.classify(seen)[0][0]
        label = int(probabilities.argmax()) if cell_type is None else self._card.labels.index(cell_type)
        return Explanation(
            cell_type=self._card.labels[label], probability=round(float(probabilities[label]), 4), crop=crop,
            map=activation_map(activation, label, size_px=side),
        )  # fmt: skip

    def _batches(
        self,
        images: Iterable[SmearImage | RefusedImage],
        study: "_Study",
        deadline: Deadline | None,
        stop: Event,
    ) -> Generator["_Batch", None, None]:
        """Crops of the images' cells, BATCH at a time however few or many an image holds; ends early on `stop`."""
        batch = _Batch()
        for scaled in study.timed_each("retrieve", with_scale(images)):
            if stop.is_set():
                return
            if deadline is not None:
                deadline.check()
            if isinstance(scaled, RefusedImage):
                study.readings.append(ImageReading(source=scaled.source, refused=scaled.reason))
                study.undecoded += 1
                continue
            for cell in self._look_at(scaled, study):
                batch.add(len(study.readings) - 1, cell)
                if len(batch.cells) >= BATCH:
                    yield batch
                    batch = _Batch()
            del scaled  # while the next image is awaited this one must not stay alive
        if batch.cells:
            yield batch

    def _look_at(self, scaled: ScaledImage, study: "_Study") -> Iterator["_CutOut"]:
        """Gate one image, find its cells and cut them out one by one."""
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
            crop = crop_about(
                image.pixels, cell.row, cell.column, um_per_px,
                size_px=self._card.input_px, scale=self._card.input_um_per_px,
            )  # fmt: skip
            yield _CutOut(image.source, cell.row, cell.column, crop)

    def _correction(self, batches: Sequence["_Batch"], study: "_Study") -> Correction:
        with study.timed("classify"):
            return correction(np.stack([c.crop for b in batches for c in b.cells]), self._card.stain)

    def _classify(self, batch: "_Batch", study: "_Study") -> None:
        with study.timed("classify"):
            crops = brought(np.stack([c.crop for c in batch.cells]), study.correction)
            probabilities, embeddings = self._classifier.classify(crops)
            if self._distribution is not None:
                study.distances.extend(self._distribution.distance(embeddings).tolist())
                study.likenesses.extend(self._distribution.likeness(embeddings).tolist())
        for image, cell, p in zip(batch.images, batch.cells, probabilities, strict=True):
            label = self._card.labels[int(p.argmax())]
            if label == NOT_A_CELL:
                study.not_cells[image] += 1
                continue
            study.counted[image] += 1
            study.add(
                Cell(
                    source=cell.source, row=round(cell.row, 1), column=round(cell.column, 1),
                    cell_type=label, probability=round(float(p.max()), 4),
                ),
                cell.crop,
            )  # fmt: skip


def _next(batches: Iterator["_Batch"]) -> "_Batch | None":
    return next(batches, None)


@dataclass(frozen=True, slots=True, eq=False)
class _CutOut:
    """A cell found: its image's name, its centre there in pixels, and its crop."""

    source: str
    row: float
    column: float
    crop: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Cells to classify together, each with the index of its image's reading."""

    images: list[int] = field(default_factory=list)
    cells: list[_CutOut] = field(default_factory=list)

    def add(self, image: int, cell: _CutOut) -> None:
        self.images.append(image)
        self.cells.append(cell)


@dataclass(slots=True)
class _Study:
    """What has been seen so far in one study.

    One thread writes what comes of looking, another what comes of classifying; it is read when both have ended.
    """

    # Looking.
    readings: list[ImageReading] = field(default_factory=list)
    undecoded: int = 0
    set_aside: Counter[int] = field(default_factory=Counter)
    # Classifying.
    correction: Correction = UNCHANGED
    cells: list[Cell] = field(default_factory=list)
    thumbnails: dict[int, bytes] = field(default_factory=dict)
    counted: Counter[int] = field(default_factory=Counter)
    not_cells: Counter[int] = field(default_factory=Counter)
    distances: list[float] = field(default_factory=list)
    likenesses: list[float] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def add(self, cell: Cell, crop: npt.NDArray[np.uint8]) -> None:
        self.thumbnails[len(self.cells)] = _thumbnail(crop)
        self.cells.append(cell)
        if len(self.thumbnails) > 4 * THUMBNAILS:
            self._prune()

    def reading(self, distribution: ood.EmbeddingModel | None) -> SmearReading:
        self._prune()
        images = tuple(
            replace(reading, cells=self.counted[i], cells_refused=self.set_aside[i] + self.not_cells[i])
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
            return NotAnalysed(
                reason=NotAnalysedReason.NO_IMAGES, detail=message("The study holds no images.")
            )
        refused = [r.refused for r in self.readings if r.refused is not None]
        if len(refused) == total:
            decoded = self.undecoded < total
            return NotAnalysed(
                reason=NotAnalysedReason.POOR_QUALITY if decoded else NotAnalysedReason.UNREADABLE,
                detail=message(
                    "None of the study's {total} images can be read: {reasons}.",
                    total=total,
                    reasons=most_frequent(refused),
                ),
            )
        discredited = sum(kind_of(reason) in DISCREDITING for reason in refused)
        if discredited > total - len(refused):
            # What slipped through is no better than the rest of the study.
            return NotAnalysed(
                reason=NotAnalysedReason.POOR_QUALITY,
                detail=message(
                    "Most of the study's {total} images cannot be read: {reasons}.",
                    total=total,
                    reasons=most_frequent(refused),
                ),
            )
        candidates = len(self.cells) + self.not_cells.total()
        if candidates >= _ENOUGH_TO_JUDGE and len(self.cells) < _MIN_CELL_SHARE * candidates:
            return NotAnalysed(
                reason=NotAnalysedReason.OUT_OF_DISTRIBUTION,
                detail=message(
                    "Only {cells} of {objects} stained objects look like blood cells: "
                    "this does not seem to be a blood smear.",
                    cells=len(self.cells),
                    objects=candidates,
                ),
            )
        if not self.cells:
            return NotAnalysed(
                reason=NotAnalysedReason.TOO_FEW_CELLS,
                detail=message(
                    "No nucleated cell was found in {images} readable images.", images=total - len(refused)
                ),
            )
        share = (
            0.0 if distribution is None else float(np.mean(np.array(self.distances) > distribution.threshold))
        )
        if share > _MAX_STRANGE_SHARE:
            return NotAnalysed(
                reason=NotAnalysedReason.OUT_OF_DISTRIBUTION,
                detail=message(
                    "{share:percent} of {cells} cells are unlike any that the model was trained on.",
                    share=share,
                    cells=len(self.distances),
                ),
            )
        if distribution is not None and float(np.median(self.likenesses)) < 0:
            share = float(np.mean(np.array(self.likenesses) < 0))
            return NotAnalysed(
                reason=NotAnalysedReason.OUT_OF_DISTRIBUTION,
                detail=message(
                    "{share:percent} of {cells} cells look like those of tissue, or of no blood smear.",
                    share=share,
                    cells=len(self.likenesses),
                ),
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


def _resized(crop: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    if crop.shape[0] == side:
        return crop
    return cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _thumbnail(crop: npt.NDArray[np.uint8]) -> bytes:
    crop = _resized(crop, THUMBNAIL_PX)
    ok, encoded = cv2.imencode(".jpg", crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    if not ok:
        raise RuntimeError("OpenCV cannot encode a JPEG")
    return encoded.tobytes()
