"""A microscope image without what tells whose it is: for training, outside the hospital.

Stricter than the Basic Application Level Confidentiality Profile (PS3.15 annex E), which says of each attribute what
becomes of it: here a new instance is made of those that describe the picture, and no other attribute is taken over
(docs/decisions/0031-only-what-describes-the-picture.md). UIDs and the patient's number become others, derived with a
secret key: the same with the same key, and not to be traced back without it.
"""

import hmac
import io
import uuid
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, VLMicroscopicImageStorage

from cds.burnt_in import has_writing
from cds.errors import UnreadableImage
from cds.microscopy import IMPLEMENTATION_CLASS_UID
from cds.pixels import PixelLimits, decode_dicom
from cds.values import RefusedImage

#: VL Microscopic and VL Slide-Coordinates Microscopic Image Storage.
PHOTOGRAPHS = ("1.2.840.10008.5.1.4.1.1.77.1.2", "1.2.840.10008.5.1.4.1.1.77.1.3")
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
MIN_KEY_BYTES = 16

#: Attributes taken over as they are: all describe pixels, none is free text.
_KEPT = ("PixelSpacing", "LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_KEPT_OF_PATH = ("ObjectiveLensPower", "ObjectiveLensNumericalAperture")
#: JPEG segments that hold nothing of the picture: EXIF, XMP, maker's and Photoshop's data, comments. APP0 (JFIF),
#: APP2 (ICC) and APP14 (Adobe) say how its colours are meant.
_TOLD_BY_JPEG = frozenset({0xE1, *range(0xE3, 0xEE), 0xEF, 0xFE})
_SOS, _EOI = 0xDA, 0xD9
#: After FF within coded data: a stuffed byte, a restart, a fill byte before either.
_WITHIN_SCANS = frozenset({0x00, *range(0xD0, 0xD8), 0xFF})


class Pseudonyms:
    """What identifiers become. key: secret, at least 16 bytes; whoever has it can tell which is whose."""

    def __init__(self, key: bytes) -> None:
        if len(key) < MIN_KEY_BYTES:
            raise ValueError(f"the key has fewer than {MIN_KEY_BYTES} bytes")
        self._key = key

    def uid(self, uid: str) -> str:
        """Under 2.25 (PS3.5 section B.2)."""
        return f"2.25.{uuid.UUID(bytes=self._digest('uid', uid)[:16], version=5).int}"

    def name(self, kind: str, value: str) -> str:
        """Sixteen hexadecimal digits."""
        return self._digest(kind, value)[:8].hex()

    def _digest(self, kind: str, value: str) -> bytes:
        return hmac.digest(self._key, f"{kind}\n{value}".encode(), "sha256")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Deidentified:
    """study_uid, sop_instance_uid: the old ones, by which labels are found; they go into no file.

    patient: pseudonym. pixels: uint8 RGB ``(r, c, 3)``. jpeg: the stripped JPEG where the image is one.
    """

    study_uid: str
    sop_instance_uid: str
    patient: str
    new_uid: str
    data: bytes
    pixels: npt.NDArray[np.uint8]
    jpeg: bytes | None
    um_per_px: float | None


def deidentify(data: bytes, pseudonyms: Pseudonyms, limits: PixelLimits) -> Deidentified:
    """A Part 10 file's picture as a new VL Microscopic Image. Raises UnreadableImage saying why it is refused."""
    images = list(decode_dicom(data, limits))
    if isinstance(images[0], RefusedImage):
        raise UnreadableImage(images[0].reason)
    if len(images) != 1:
        raise UnreadableImage(f"it holds {len(images)} frames; only single pictures are exported")
    image = images[0]
    old = dcmread(io.BytesIO(data), force=True)
    _check_kind(old)
    if has_writing(image.pixels):
        raise UnreadableImage("there seems to be writing in the picture")
    patient_id = str(old.get("PatientID") or "")
    issuer = str(old.get("IssuerOfPatientID") or "")
    # Without a number of the patient, the study is all that is known to belong together.
    whose = f"{issuer}\n{patient_id}" if patient_id else f"study {old.StudyInstanceUID}"
    patient = pseudonyms.name("patient", whose)
    new = _instance(old, pseudonyms, patient)
    jpeg = _jpeg(old)
    new.Rows, new.Columns = image.pixels.shape[:2]
    new.SamplesPerPixel, new.PlanarConfiguration = 3, 0
    new.BitsAllocated, new.BitsStored, new.HighBit, new.PixelRepresentation = 8, 8, 7, 0
    new.PhotometricInterpretation = str(old.PhotometricInterpretation) if jpeg else "RGB"
    if jpeg:
        new.LossyImageCompression = "01"  # also where the old instance forgot to say so
        new.PixelData = encapsulate([jpeg])
        new["PixelData"].is_undefined_length = True
    else:
        native = image.pixels.tobytes()
        new.PixelData = native + b"\0" * (len(native) % 2)
    new["PixelData"].VR = "OB"
    return Deidentified(
        study_uid=str(old.StudyInstanceUID),
        sop_instance_uid=str(old.SOPInstanceUID),
        patient=patient,
        new_uid=str(new.SOPInstanceUID),
        data=_part10(new, jpeg is not None),
        pixels=image.pixels,
        jpeg=jpeg,
        um_per_px=image.um_per_px,
    )


def strip_jpeg(stream: bytes) -> bytes:
    """A JPEG stream without the segments that tell of camera, place and people; the picture stays bit for bit.

    Raises UnreadableImage where the stream does not come to its end marker.
    """
    kept, position = [stream[:2]], 2
    while position + 2 <= len(stream) and stream[position] == 0xFF:
        marker = stream[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == _EOI:
            # What stands behind it is no part of the picture (previews with data of their own, maker's notes).
            return b"".join((*kept, stream[position : position + 2]))
        end = position + 2 + int.from_bytes(stream[position + 2 : position + 4])
        if marker == _SOS:
            end = _end_of_scan(stream, end)
        if marker not in _TOLD_BY_JPEG:
            kept.append(stream[position:end])
        position = end
    raise UnreadableImage("its JPEG is damaged")


def _end_of_scan(stream: bytes, start: int) -> int:
    """Where the marker stands that ends a scan whose coded data begin at `start`: the first that is neither a stuffed
    byte nor a restart (ITU-T T.81 section B.1.1.5)."""
    position = stream.find(b"\xff", start)
    while 0 <= position < len(stream) - 1:
        following = stream[position + 1]
        if following not in _WITHIN_SCANS:
            return position
        position = stream.find(b"\xff", position + (1 if following == 0xFF else 2))
    return len(stream)


def _check_kind(old: Dataset) -> None:
    burnt_in = str(old.get("BurnedInAnnotation") or "")
    if burnt_in == "YES":
        raise UnreadableImage("it says that identifying text is burnt in (BurnedInAnnotation)")
    kind = str(old.SOPClassUID)
    if kind == SECONDARY_CAPTURE and burnt_in != "NO":
        raise UnreadableImage("it is a secondary capture that does not say that no text is burnt in")
    if kind not in (*PHOTOGRAPHS, SECONDARY_CAPTURE):
        raise UnreadableImage("it is of a kind that is not exported: only single microscope pictures are")
    if {"LABEL", "OVERVIEW"} & {str(v) for v in old.get("ImageType") or ()}:
        raise UnreadableImage("it shows the slide's label")


def _instance(old: Dataset, pseudonyms: Pseudonyms, patient: str) -> Dataset:
    new = Dataset()
    new.SpecificCharacterSet = "ISO_IR 192"
    new.SOPClassUID = VLMicroscopicImageStorage
    new.SOPInstanceUID = pseudonyms.uid(str(old.SOPInstanceUID))
    new.StudyInstanceUID = pseudonyms.uid(str(old.StudyInstanceUID))
    new.SeriesInstanceUID = pseudonyms.uid(str(old.SeriesInstanceUID))
    new.ImageType = ["DERIVED", "PRIMARY"]
    new.Modality, new.SeriesNumber, new.InstanceNumber = "GM", 1, 1
    new.PatientName = new.PatientID = patient
    for empty in (
        *("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID"),
        *("AccessionNumber", "Manufacturer", "PatientOrientation"),
    ):
        setattr(new, empty, "")
    new.AcquisitionContextSequence = []
    new.PatientIdentityRemoved = "YES"
    new.DeidentificationMethod = "LeukoCDS: only attributes that describe the picture"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "113100", "DCM"
    code.CodeMeaning = "Basic Application Confidentiality Profile"
    new.DeidentificationMethodCodeSequence = [code]
    new.LongitudinalTemporalInformationModified = "REMOVED"
    new.LossyImageCompression = "00"
    for keyword in _KEPT:
        if keyword in old:
            new[keyword] = old[keyword]
    _optical_path(old, new)
    return new


def _optical_path(old: Dataset, new: Dataset) -> None:
    """The objective; an ICC profile may name a device, so it stays out."""
    paths = old.get("OpticalPathSequence") or []
    powers = {k: paths[0][k] for k in _KEPT_OF_PATH if k in paths[0]} if paths else {}
    for keyword, element in powers.items():
        new[keyword] = element


def _jpeg(old: Dataset) -> bytes | None:
    """The picture's own JPEG, stripped, where the instance holds a baseline one."""
    if old.file_meta.get("TransferSyntaxUID") != JPEGBaseline8Bit:
        return None
    stream = next(generate_frames(old.PixelData, number_of_frames=1))
    return strip_jpeg(stream)


def _part10(new: Dataset, jpeg: bool) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = new.SOPClassUID
    meta.MediaStorageSOPInstanceUID = new.SOPInstanceUID
    meta.TransferSyntaxUID = JPEGBaseline8Bit if jpeg else ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    new.file_meta = meta
    buffer = io.BytesIO()
    dcmwrite(buffer, new, enforce_file_format=True)
    return buffer.getvalue()
