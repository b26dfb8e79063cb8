"""DICOM Part 10 files and camera images to RGB smear images with their scale.

Bad input is never an exception here: it comes out as a RefusedImage with a sentence, so that one broken image does
not take the rest of a study with it. Only the elements below are read from a DICOM file; nothing about the patient is.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import UID

from cds.dicom_files import HEADER_BYTES, is_dicom, other_kind, read_dataset
from cds.errors import UnreadableImage
from cds.frames import decode_frame, frame_header
from cds.identifiers import is_uid
from cds.image_files import PixelLimits, check_colour, decode_image
from cds.language import message, said_by
from cds.values import ImageRef, RefusedImage, SmearImage

__all__ = ["PixelLimits", "decode_dicom", "decode_file", "instance_ref", "is_dicom", "spread", "stated_scale"]

_log = logging.getLogger(__name__)

#: The scales that a microscope image can have; the rest (0.26 mm of a screen, 1 mm of a placeholder) is not a scale.
STATED_UM_PER_PX = (0.005, 20.0)

#: Images of a whole slide that show something else (PS3.3 section C.8.12.4.1.1), and what to say of them.
NOT_CELLS = {
    "LABEL": message("it shows the slide's label, not cells"),
    "OVERVIEW": message("it shows the slide's overview, not cells"),
}

_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_TAGS = [
    *("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID"),
    *("StudyInstanceUID", "SeriesInstanceUID", "NumberOfFrames", "Rows", "Columns", "SamplesPerPixel"),
    *("PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit"),
    *("PixelRepresentation", "PixelSpacing", "ImagedVolumeWidth", "ImagedVolumeHeight"),
    *("TotalPixelMatrixColumns", "TotalPixelMatrixRows", "SharedFunctionalGroupsSequence"),
    *(f"{c}PaletteColorLookupTableDescriptor" for c in ("Red", "Green", "Blue")),
    *(f"{c}PaletteColorLookupTableData" for c in ("Red", "Green", "Blue")),
    *(f"Segmented{c}PaletteColorLookupTableData" for c in ("Red", "Green", "Blue")),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData"),
]


def decode_dicom(
    data: bytes,
    limits: PixelLimits,
    *,
    source: str | None = None,
    expected: ImageRef | None = None,
    finer_elsewhere: bool = False,
) -> Iterator[SmearImage | RefusedImage]:
    """The frames of one DICOM Part 10 file, one by one; at most `limits.max_frames` of them, evenly spread.

    source: what to call the image; the SOP Instance UID by default. expected: the instance that was asked for; another
    one in its place is refused, since it might show another patient's blood. finer_elsewhere: a larger instance of the
    same slide is read; one that was made of it by resampling would show the same cells again, and is refused.
    """
    name = source or (expected.sop_instance_uid if expected else "DICOM file")
    try:
        dataset = read_dataset(data, _TAGS, at_most=_at_most(limits))
        uid = str(dataset.get("SOPInstanceUID", ""))
        if expected is not None:
            _check_identity(dataset, expected)
        elif source is None and is_uid(uid):
            name = uid
        _check_is_field(dataset, finer_elsewhere=finer_elsewhere)
        header = frame_header(dataset, limits)
        chosen = spread(header.frames, limits.max_frames)
        scale = stated_scale(dataset)
    except UnreadableImage as refusal:
        yield RefusedImage(source=name, reason=said_by(refusal))
        return
    except Exception as error:  # noqa: BLE001 - pydicom raises whatever damaged bytes lead it to; none may pass
        yield _damaged(name, error)
        return
    for index in chosen:
        label = name if header.frames == 1 else f"{name}#{index + 1}"
        try:
            pixels, decoder = decode_frame(dataset, header, index)
            check_colour(pixels)
        except UnreadableImage as refusal:
            yield RefusedImage(source=label, reason=said_by(refusal))
        except Exception as error:  # noqa: BLE001 - as above, and the decoders too
            yield _damaged(label, error)
        else:
            yield SmearImage(
                source=label,
                pixels=pixels,
                um_per_px=scale,
                photometric_interpretation=header.photometric_interpretation,
                transfer_syntax_uid=header.transfer_syntax_uid,
                decoder=decoder,
                frames_left_out=header.frames - len(chosen),
            )
            del pixels  # a generator waiting for its next turn must not keep the image alive


def decode_file(
    path: Path, limits: PixelLimits, *, um_per_px: float | None = None
) -> Iterator[SmearImage | RefusedImage]:
    """A DICOM, JPEG, PNG or TIFF file, told apart by content. `um_per_px` replaces what the file states."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
            if not (is_dicom(start) or start.startswith(_SIGNATURES)):
                raise UnreadableImage(
                    other_kind(start) or message("it is not a DICOM, JPEG, PNG or TIFF image")
                )
            data = start + file.read()
        if not is_dicom(data):
            yield decode_image(data, limits, source=path.name, um_per_px=um_per_px)
            return
    except UnreadableImage as refusal:
        yield RefusedImage(source=path.name, reason=said_by(refusal))
        return
    except OSError as error:
        yield RefusedImage(
            source=path.name, reason=message("the file cannot be read ({why})", why=str(error.strerror))
        )
        return
    for image in decode_dicom(data, limits, source=path.name):
        if um_per_px is not None and isinstance(image, SmearImage):
            image = replace(image, um_per_px=um_per_px)
        yield image
        del image


def instance_ref(data: bytes) -> ImageRef:
    """The identity of a Part 10 file. Raises UnreadableImage when it has none."""
    try:
        tags = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "NumberOfFrames"]
        header = read_dataset(data, tags)
        return ImageRef(
            study_uid=str(header.StudyInstanceUID),
            series_uid=str(header.SeriesInstanceUID),
            sop_instance_uid=str(header.SOPInstanceUID),
            sop_class_uid=str(header.SOPClassUID),
            number_of_frames=int(header.get("NumberOfFrames") or 1),
        )
    except Exception as error:
        raise UnreadableImage(message("its DICOM identifiers are missing or malformed")) from error


def stated_scale(dataset: Dataset) -> float | None:
    """µm per pixel that the attributes state, or None; see `_scale`."""
    try:
        return _scale(dataset)
    except (AttributeError, OverflowError, TypeError, ValueError):
        return None  # a malformed scale is none; the picture may be sound


def spread(total: int, at_most: int) -> list[int]:
    """At most `at_most` of the indices 0 … total - 1, evenly spread and in order."""
    if total <= at_most:
        return list(range(total))
    return sorted({int((i + 0.5) * total / at_most) for i in range(at_most)})


def _at_most(limits: PixelLimits) -> int:
    """Bytes that a deflated file may fill: the largest frame in 16 bits, and its header."""
    return int(limits.max_megapixels * 6e6) + HEADER_BYTES


def _check_identity(dataset: Dataset, expected: ImageRef) -> None:
    held = (str(dataset.get("StudyInstanceUID", "")), str(dataset.get("SOPInstanceUID", "")))
    if held != (expected.study_uid, expected.sop_instance_uid):
        raise UnreadableImage(message("the archive delivered another instance than the one asked for"))


def _check_is_field(dataset: Dataset, *, finer_elsewhere: bool) -> None:
    if "PixelData" not in dataset:
        kind = UID(str(dataset.get("SOPClassUID", "")))
        # Only a name that pydicom knows: a damaged element may hold anything, the patient's number too.
        if kind.name != kind:
            raise UnreadableImage(message("it holds no picture ({kind})", kind=str(kind.name)))
        raise UnreadableImage(message("it holds no picture"))
    kinds = [str(v) for v in dataset.get("ImageType") or []]
    flavour = kinds[2:3]
    if flavour and flavour[0] in NOT_CELLS:
        raise UnreadableImage(NOT_CELLS[flavour[0]])
    # PS3.3 section C.8.12.4.1.1
    if finer_elsewhere and (flavour == ["THUMBNAIL"] or kinds[3:4] == ["RESAMPLED"]):
        raise UnreadableImage(message("it shows a slide again, coarser than another of its images"))


def _scale(dataset: Dataset) -> float | None:
    """µm per pixel, or None.

    From PixelSpacing (mm) of the image, or of its Pixel Measures (PS3.3 section C.7.6.16.2.1), or the imaged volume
    over the matrix (C.8.12.4). Not from ImagerPixelSpacing: it is measured on the sensor, before the objective.
    """
    spacing = dataset.get("PixelSpacing")
    if not spacing:
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
        measures = (shared.get("PixelMeasuresSequence") or [Dataset()])[0]
        spacing = measures.get("PixelSpacing")
    if spacing and len(spacing) == 2:
        down, across = (float(v) * 1000 for v in spacing)
    else:
        columns, rows = dataset.get("TotalPixelMatrixColumns"), dataset.get("TotalPixelMatrixRows")
        width, height = dataset.get("ImagedVolumeWidth"), dataset.get("ImagedVolumeHeight")
        if not (columns and rows and width and height):
            return None
        across, down = float(width) * 1000 / int(columns), float(height) * 1000 / int(rows)
        if dataset.get("Rows") and not abs(across / down - 1) < 0.05:
            # The volume's sides follow the slide, the matrix follows the image, which may lie across it.
            across, down = float(height) * 1000 / int(columns), float(width) * 1000 / int(rows)
    if not (across > 0 and down > 0) or not abs(across / down - 1) < 0.05:
        return None
    scale = float(np.sqrt(across * down))
    return scale if STATED_UM_PER_PX[0] <= scale <= STATED_UM_PER_PX[1] else None


def _damaged(name: str, error: Exception) -> RefusedImage:
    _log.info("image refused", extra={"error": type(error).__name__})
    return RefusedImage(source=name, reason=message("it is damaged and cannot be decoded"))
