"""The cells that carried a finding, as one Secondary Capture image (PS3.3 section A.8.1)."""

import io
from collections.abc import Sequence
from datetime import UTC

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from cds.language import ENGLISH, Words, message
from cds.microscopy import IMPLEMENTATION_CLASS_UID, derived_uid
from cds.report_text import cell_name
from cds.values import Assessment, Cell, Finding

#: Cells that are shown at most, and to a row; side of a cell's picture and height of its label, in pixels.
_MOST, _A_ROW, _SIDE, _LABEL = 30, 6, 128, 16
_SERIES_NUMBER = 9902


def gallery_capture(
    assessment: Assessment, described: Dataset, *, series_uid: str, words: Words = ENGLISH
) -> bytes | None:
    """The gallery as a Part 10 file; None where no cell was kept with its picture.

    described: patient and study, as the images have them. The picture holds cells and their types, nothing else.
    """
    finding = assessment.outcome
    assert isinstance(finding, Finding)
    cells = [cell for cell in finding.cells if cell.thumbnail is not None][:_MOST]
    if not cells:
        return None
    pixels, ratio = _drawn(cells, words)
    capture = Dataset()
    capture.update(described)
    capture.SpecificCharacterSet = "ISO_IR 192"
    capture.SOPClassUID = SecondaryCaptureImageStorage
    capture.SOPInstanceUID = derived_uid("gallery", assessment.key)
    capture.StudyInstanceUID, capture.SeriesInstanceUID = assessment.study.study_uid, series_uid
    capture.Modality, capture.ConversionType = "OT", "WSD"
    capture.SeriesNumber, capture.InstanceNumber = _SERIES_NUMBER, 1
    capture.SeriesDescription = words.text(message("Blood smear, cells read by image analysis, preliminary"))
    capture.Manufacturer, capture.ManufacturerModelName = "LeukoCDS", assessment.model.name
    capture.SoftwareVersions = assessment.model.version
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.PatientOrientation, capture.Laterality, capture.BurnedInAnnotation = "", "", "NO"
    read_at = assessment.read_at.astimezone(UTC)
    capture.TimezoneOffsetFromUTC = "+0000"
    capture.ContentDate, capture.ContentTime = read_at.strftime("%Y%m%d"), read_at.strftime("%H%M%S")
    capture.Rows, capture.Columns = pixels.shape[:2]
    capture.SamplesPerPixel, capture.PhotometricInterpretation, capture.PlanarConfiguration = 3, "RGB", 0
    capture.BitsAllocated, capture.BitsStored, capture.HighBit, capture.PixelRepresentation = 8, 8, 7, 0
    capture.LossyImageCompression = "01"  # the crops were kept as JPEG
    capture.LossyImageCompressionRatio = f"{ratio:.2f}"
    capture.LossyImageCompressionMethod = "ISO_10918_1"
    capture.PixelData = pixels.tobytes()
    capture["PixelData"].VR = "OB"
    capture.file_meta = FileMetaDataset()
    capture.file_meta.MediaStorageSOPClassUID = capture.SOPClassUID
    capture.file_meta.MediaStorageSOPInstanceUID = capture.SOPInstanceUID
    capture.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    capture.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    buffer = io.BytesIO()
    dcmwrite(buffer, capture, enforce_file_format=True)
    return buffer.getvalue()


def _drawn(cells: Sequence[Cell], words: Words) -> tuple[npt.NDArray[np.uint8], float]:
    """Cells in reading order, each over its type, as uint8 RGB ``(r, c, 3)``; and how much they had been compressed."""
    rows = -(-len(cells) // _A_ROW)
    sheet = Image.new("RGB", (_A_ROW * _SIDE, rows * (_SIDE + _LABEL)), "white")
    draw = ImageDraw.Draw(sheet)
    plain = compressed = 0
    for number, cell in enumerate(cells):
        left, top = number % _A_ROW * _SIDE, number // _A_ROW * (_SIDE + _LABEL)
        assert cell.thumbnail is not None
        with Image.open(io.BytesIO(cell.thumbnail), formats=("JPEG", "PNG")) as crop:
            plain, compressed = plain + 3 * crop.width * crop.height, compressed + len(cell.thumbnail)
            sheet.paste(crop.convert("RGB").resize((_SIDE - 4, _SIDE - 4)), (left + 2, top + 2))
        draw.text((left + 4, top + _SIDE), words.text(cell_name(cell.cell_type)), fill="black")
    return np.asarray(sheet), max(1.0, plain / compressed)
