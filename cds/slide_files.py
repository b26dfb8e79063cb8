"""Whole slides in files: the same fields are read of them as of a slide in an archive that hands out frames."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, VLWholeSlideMicroscopyImageStorage

from cds.deadline import Deadline
from cds.dicom_files import read_dataset
from cds.errors import UnreadableImage
from cds.frames import compressed_frame, frame_header
from cds.image_files import PixelLimits
from cds.pixels import decode_file, instance_ref
from cds.slide_retrieval import open_slides
from cds.slides import DESCRIBED_BY
from cds.values import ImageRef, RefusedImage, SmearImage, StoredFrame

_log = logging.getLogger(__name__)

Image = SmearImage | RefusedImage

_PIXELS = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData")
_PER_FRAME = "PerFrameFunctionalGroupsSequence"


def slide_series(files: Sequence[Path]) -> dict[Path, tuple[Path, ...]]:
    """The files of whole slides, by the first of each series; what else there is, is left out."""
    by_series: dict[tuple[str, str], list[Path]] = {}
    for path in files:
        if (ref := _slide(path)) is not None:
            by_series.setdefault((ref.study_uid, ref.series_uid), []).append(path)
    return {together[0]: tuple(together) for together in by_series.values()}


def decode_slides(files: Sequence[Path], limits: PixelLimits) -> Iterator[tuple[Path, Image]]:
    """The fields of the slides in the files of one series, each with the file that it is in.

    A file whose tiles cannot be told apart is decoded like any other DICOM file. One file at a time is in memory.
    """
    source, others = SlideFiles(limits), []
    for path in files:
        try:
            source.add(path)
        except UnreadableImage:
            others.append(path)
    for image in open_slides(source, source.refs, limits, None):
        uid, _, frames = image.source.partition("#")
        path = source.paths[uid]
        yield path, replace(image, source=f"{path.name}#{frames}" if frames else path.name)
        del image
    for path in others:
        for image in decode_file(path, limits):
            yield path, image
            del image


class SlideFiles:
    """Port `FrameSource` over files. paths: by SOP Instance UID."""

    def __init__(self, limits: PixelLimits) -> None:
        self._limits = limits
        self.refs: list[ImageRef] = []
        self.paths: dict[str, Path] = {}
        self._described: dict[str, Mapping[str, Any]] = {}
        self._open: tuple[str, Dataset] | None = None

    def add(self, path: Path) -> None:
        """Raises UnreadableImage for a file whose frames cannot be had one by one."""
        data = _read(path)
        ref = instance_ref(data)
        if ref.sop_instance_uid in self.paths:
            raise UnreadableImage("another file holds the same instance")
        try:
            described = read_dataset(data, [*DESCRIBED_BY, _PER_FRAME])
            self._described[ref.sop_instance_uid] = described.to_json_dict()
            dataset = self._pixels(data)
        except UnreadableImage:
            raise
        except Exception as error:
            _log.info("image refused", extra={"error": type(error).__name__})
            raise UnreadableImage("it is damaged and cannot be decoded") from error
        syntax = UID(str(dataset.file_meta.TransferSyntaxUID))
        if not syntax.is_encapsulated and str(dataset.PhotometricInterpretation) != "RGB":
            raise UnreadableImage("its frames are of no kind that is handed out one by one")
        self.refs.append(ref)
        self.paths[ref.sop_instance_uid] = path

    def metadata(self, image: ImageRef, deadline: Deadline | None = None) -> Mapping[str, Any]:
        return self._described[image.sop_instance_uid]

    def frames(
        self, image: ImageRef, numbers: Sequence[int], deadline: Deadline | None = None
    ) -> tuple[StoredFrame, ...]:
        """As they are stored; what cannot be found in the file is an empty frame, which no decoder takes."""
        dataset = self._dataset(image.sop_instance_uid)
        header = frame_header(dataset, self._limits)
        syntax = header.transfer_syntax_uid
        frames = []
        for number in numbers:
            try:
                if UID(syntax).is_encapsulated:
                    data = compressed_frame(dataset, header, number - 1)
                else:
                    size = header.rows * header.columns * 3 * int(dataset.BitsAllocated) // 8
                    data = dataset.PixelData[(number - 1) * size : number * size]
            except Exception as error:  # noqa: BLE001 - pydicom raises whatever damaged fragments lead it to
                _log.info("image refused", extra={"error": type(error).__name__})
                data = b""
            frames.append(StoredFrame(data=data, transfer_syntax_uid=syntax))
        return tuple(frames)

    def _dataset(self, uid: str) -> Dataset:
        if self._open is None or self._open[0] != uid:
            self._open = None  # the one before goes first
            self._open = (uid, self._pixels(_read(self.paths[uid])))
        return self._open[1]

    def _pixels(self, data: bytes) -> Dataset:
        # Deflated ones are refused here: none of their frames is to be had without all that comes before it.
        dataset = read_dataset(data, [*DESCRIBED_BY, *_PIXELS], at_most=0)
        frame_header(dataset, self._limits)
        return dataset


def _slide(path: Path) -> ImageRef | None:
    """What a whole slide's file is; None for any other file."""
    try:
        meta = read_file_meta_info(path)
        if meta.get("MediaStorageSOPClassUID") != VLWholeSlideMicroscopyImageStorage:
            return None
        return instance_ref(_read(path))
    except Exception as error:  # noqa: BLE001 - whatever is no DICOM file; `decode_file` says what it is
        _log.debug("no slide", extra={"error": type(error).__name__})
        return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"the file cannot be read ({error.strerror})") from None
