"""A camera's picture as a DICOM VL Microscopic Image (PS3.3 section A.32.2)."""

import hashlib
import io
import uuid
from datetime import datetime

import numpy as np
from PIL import Image
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGBaseline8Bit, VLMicroscopicImageStorage

from cds.codestreams import Colour, read_jpeg
from cds.errors import UnreadableImage
from cds.identifiers import NAMESPACE
from cds.image_files import PixelLimits, decode_image, inspect_image, is_plain_jpeg
from cds.pixels import is_dicom
from cds.slide import Slide, Subject
from cds.slide_modules import acquired as moments_of_picture
from cds.slide_modules import optical_path, patient_and_study, series_and_equipment, specimen

#: Implementation Class UID of the files we write (PS3.7 annex D.3.3.2), from our own namespace.
IMPLEMENTATION_CLASS_UID = UID(f"2.25.{uuid.uuid5(NAMESPACE, 'dicom implementation').int}")

_MM_PER_UM = 1e-3


def to_dicom(
    file_bytes: bytes,
    *,
    study_uid: str,
    series_uid: str,
    patient_id: str = "",
    subject: Subject | None = None,
    slide: Slide | None = None,
    um_per_px: float | None = None,
    instance_number: int = 1,
    acquired: datetime | None = None,
    specimen_id: str = "",
    limits: PixelLimits | None = None,
) -> bytes:
    """A JPEG, PNG or TIFF file as a DICOM Part 10 file of SOP class VL Microscopic Image; a DICOM file as it is.

    An 8-bit baseline JPEG keeps its own compressed bytes, so nothing is lost a second time; all else is stored as
    uncompressed RGB, and where that changed the pixels (turned upright, 16 bits reduced to 8) the image says so. The
    SOP Instance UID follows from study and content: the same picture never becomes two instances.

    subject: the patient; without, only the `patient_id`. slide: what is known of the slide and the picture; its
    values go before `um_per_px` and `specimen_id`, as on the slide's label (the study stands in where nothing is
    given). Scale: as given, else what the file states, else none. acquired: when the study began, and the picture
    was taken where `slide` does not say.

    Raises UnreadableImage for what is not one whole colour picture within `limits`.
    """
    if is_dicom(file_bytes):
        return file_bytes
    _check_jpeg(file_bytes)
    scale = slide.um_per_px if slide and slide.um_per_px is not None else um_per_px
    image = decode_image(file_bytes, limits or PixelLimits(), source="image", um_per_px=scale)
    told = inspect_image(file_bytes)
    instance_uid = derived_uid("instance", study_uid, hashlib.sha256(file_bytes).hexdigest())
    dataset = Dataset()
    patient_and_study(
        dataset,
        subject or Subject(patient_id=patient_id),
        study_uid=study_uid,
        started=acquired,
        accession_number=slide.accession_number if slide else "",
    )
    series_and_equipment(dataset, series_uid, slide)
    moments_of_picture(dataset, slide.acquired if slide and slide.acquired else acquired)
    label = (slide.specimen_id or slide.accession_number) if slide else specimen_id
    stand_in = f"LEUKOCDS-{uuid.uuid5(NAMESPACE, study_uid).hex[:12]}".upper()
    specimen(dataset, label or stand_in, study_uid, slide.stain if slide else "")
    if slide is not None or told.icc_profile is not None:
        optical_path(dataset, slide.objective if slide else None, told.icc_profile)
    dataset.SOPClassUID = VLMicroscopicImageStorage
    dataset.SOPInstanceUID = instance_uid
    dataset.ImageType = ["DERIVED" if told.changes else "ORIGINAL", "PRIMARY"]
    if told.changes:
        dataset.DerivationDescription = "; ".join(told.changes)
    dataset.InstanceNumber = instance_number
    dataset.PatientOrientation = ""
    dataset.AcquisitionContextSequence = []
    dataset.Rows, dataset.Columns = image.pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelRepresentation = 0
    if image.um_per_px is not None:
        spacing = f"{image.um_per_px * _MM_PER_UM:.10g}"
        dataset.PixelSpacing = [spacing, spacing]
    syntax = _pixel_data(dataset, file_bytes, image.pixels)
    return _part10(dataset, syntax)


def derived_uid(*parts: str) -> str:
    """A UID under 2.25 (PS3.5 section B.2) that the same parts always give."""
    return f"2.25.{uuid.uuid5(NAMESPACE, chr(10).join(parts)).int}"


def _check_jpeg(file_bytes: bytes) -> None:
    """Raises UnreadableImage, in plain words, for a JPEG of a kind that no decoder of photographs reads."""
    if file_bytes.startswith(b"\xff\xd8"):
        stream = read_jpeg(file_bytes)
        if stream.precision != 8:
            raise UnreadableImage(
                f"it is a JPEG of {stream.precision} bits per sample; export it with 8, or as TIFF or PNG"
            )
        if not stream.dct:
            raise UnreadableImage(
                "it is a JPEG of a rare process (lossless, arithmetic); export it as TIFF or PNG"
            )


def _pixel_data(dataset: Dataset, file_bytes: bytes, pixels: np.ndarray) -> UID:
    """Set the pixel data and what describes them; return the transfer syntax."""
    colour = _kept_colour(file_bytes)
    if colour is not None:
        # YBR_FULL_422 whatever the subsampling is (PS3.5 section 8.2.1).
        dataset.PhotometricInterpretation = "RGB" if colour is Colour.RGB else "YBR_FULL_422"
        dataset.PixelData = encapsulate([file_bytes])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    else:
        dataset.PhotometricInterpretation = "RGB"
        native = pixels.tobytes()
        dataset.PixelData = native + b"\0" * (len(native) % 2)
        dataset["PixelData"].VR = "OB"
    lossy = file_bytes.startswith(b"\xff\xd8") or _is_jpeg_tiff(file_bytes)
    dataset.LossyImageCompression = "01" if lossy else "00"
    if lossy:
        dataset.LossyImageCompressionRatio = f"{max(1.0, pixels.size / len(file_bytes)):.2f}"
        dataset.LossyImageCompressionMethod = "ISO_10918_1"
    return JPEGBaseline8Bit if colour is not None else ExplicitVRLittleEndian


def _kept_colour(file_bytes: bytes) -> Colour | None:
    """Colour space of a JPEG that may be stored as it is; None where it must be stored as RGB.

    Not kept: other processes than baseline, pictures that lie on their side (DICOM has no EXIF orientation), and
    several in one file.
    """
    if not file_bytes.startswith(b"\xff\xd8"):
        return None
    stream = read_jpeg(file_bytes)
    if not stream.baseline or not stream.complete or not is_plain_jpeg(file_bytes):
        return None
    # Unmarked components are YCbCr to every decoder of JPEG files.
    return stream.colour or Colour.YBR


def _is_jpeg_tiff(file_bytes: bytes) -> bool:
    with Image.open(io.BytesIO(file_bytes), formats=("JPEG", "PNG", "TIFF")) as picture:
        return str(picture.info.get("compression", "")).endswith("jpeg")


def _part10(dataset: Dataset, syntax: UID) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = "LEUKOCDS"
    dataset.file_meta = meta
    buffer = io.BytesIO()
    try:
        dcmwrite(buffer, dataset, enforce_file_format=True)
    except ValueError as error:  # a patient or specimen identifier that DICOM cannot hold, for one
        raise UnreadableImage("it cannot be written as DICOM") from error
    return buffer.getvalue()
