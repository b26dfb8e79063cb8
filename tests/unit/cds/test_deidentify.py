"""What of an image leaves the hospital, and what never does."""

import io
from datetime import UTC, date, datetime
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.encaps import generate_frames

from cds.deidentify import SECONDARY_CAPTURE, Deidentified, Pseudonyms, deidentify, strip_jpeg
from cds.errors import UnreadableImage
from cds.identifiers import is_uid
from cds.microscopy import to_dicom
from cds.pixels import PixelLimits, decode_dicom
from cds.slide import Slide, Subject
from cds.values import SmearImage
from tests.fakes.images import dicom_file, drawing, encoded

KEY = bytes(range(32))
SLIDE = Slide(
    accession_number="ACC-4711", specimen_id="SPEC-4711", stain="Giemsa for Doe", objective=100, um_per_px=0.1,
    operator="Operator Doe", acquired=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), manufacturer="Makers", microscope="X",
    serial_number="SERIAL-4711", patient_id="MRN-4711", patient_birth_date=date(1970, 1, 2),
)  # fmt: skip
SUBJECT = Subject(patient_id="MRN-4711", name="Doe^Jane", birth_date="19700102", sex="F")
#: Whatever identifies the instances below.
TRACES = (
    b"4711",
    b"Doe",
    b"Jane",
    b"19700102",
    b"20260304",
    b"Makers",
    b"2.25.1001",
    b"GPS-here",
    b"private",
)


def exif_jpeg() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "Slide of Jane Doe, GPS-here"
    return encoded(drawing(), exif=exif, comment=b"Doe")


def instance(content: bytes | None = None) -> bytes:
    return to_dicom(
        exif_jpeg() if content is None else content, study_uid="2.25.1001", series_uid="2.25.1002", subject=SUBJECT,
        slide=SLIDE, acquired=SLIDE.acquired,
    )  # fmt: skip


def with_more(data: bytes, **elements: object) -> bytes:
    dataset = dcmread(io.BytesIO(data))
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    dataset.add(DataElement(0x00110010, "LO", "private creator"))
    dataset.add(DataElement(0x00111001, "LO", "private Doe"))
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def done(data: bytes, key: bytes = KEY) -> Deidentified:
    return deidentify(data, Pseudonyms(key), PixelLimits())


@pytest.mark.parametrize("content", [exif_jpeg(), encoded(drawing(), "PNG")])
def test_nothing_that_identifies_is_left_and_the_picture_is_the_same(content: bytes) -> None:
    data = with_more(
        instance(content),
        InstitutionName="Clinic Doe",
        PatientComments="Doe",
        StudyDescription="of Jane",
        OtherPatientIDs="4711",
    )
    assert all(trace in data for trace in (b"4711", b"Doe", b"private"))
    image = done(data)
    for trace in TRACES:
        assert trace not in image.data, trace
        assert image.jpeg is None or trace not in image.jpeg
    (before,), (after,) = decode_dicom(data, PixelLimits()), decode_dicom(image.data, PixelLimits())
    assert isinstance(before, SmearImage)
    assert isinstance(after, SmearImage)
    assert np.array_equal(before.pixels, after.pixels)
    assert after.um_per_px == pytest.approx(0.1)
    new = dcmread(io.BytesIO(image.data))
    assert (new.PatientIdentityRemoved, new.ObjectiveLensPower) == ("YES", 100)
    assert not any(element.tag.is_private for element in new.iterall())


def test_pseudonyms_are_the_same_with_the_same_key_and_others_with_another() -> None:
    first, again = done(instance()), done(instance())
    other = done(instance(), KEY[::-1])
    picture2 = done(instance(encoded(drawing(seed=2))))
    assert (first.new_uid, first.patient, first.data) == (again.new_uid, again.patient, again.data)
    assert first.patient == picture2.patient
    assert first.new_uid != picture2.new_uid
    assert {first.new_uid, first.patient}.isdisjoint({other.new_uid, other.patient})
    assert is_uid(first.new_uid)
    studies = {dcmread(io.BytesIO(i.data)).StudyInstanceUID for i in (first, picture2)}
    assert len(studies) == 1


def test_a_short_key_is_no_key() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Pseudonyms(b"short")


def test_a_stripped_jpeg_keeps_its_colours_and_every_bit_of_the_picture() -> None:
    data = exif_jpeg() + b"preview of Doe"
    stripped = strip_jpeg(data)
    assert b"Doe" not in stripped
    assert b"JFIF" in stripped
    assert np.array_equal(np.array(Image.open(io.BytesIO(data))), np.array(Image.open(io.BytesIO(stripped))))
    (stream,) = generate_frames(dcmread(io.BytesIO(done(instance()).data)).PixelData, number_of_frames=1)
    assert stream.rstrip(b"\0") == strip_jpeg(exif_jpeg())


def test_a_preview_behind_the_picture_is_no_part_of_it() -> None:
    """Cameras append a whole JPEG of its own, with its own EXIF, to the one that is shown."""
    picture = encoded(drawing())
    assert strip_jpeg(picture + exif_jpeg()) == strip_jpeg(picture)
    assert strip_jpeg(picture) == picture


@pytest.mark.parametrize("options", [{"progressive": True}, {"restart_marker_blocks": 1}])
def test_what_stands_between_the_scans_is_stripped_too(options: dict[str, Any]) -> None:
    picture = encoded(drawing(), **options)
    comment = b"\xff\xfe\x00\x09Doe\xff\xd9!!"
    last_scan = picture.rindex(b"\xff\xda")
    told = picture[:last_scan] + comment + picture[last_scan:]
    assert strip_jpeg(told) == picture
    shown = [np.array(Image.open(io.BytesIO(p))) for p in (told, strip_jpeg(told))]
    assert np.array_equal(*shown)


def test_a_jpeg_is_called_lossy_whatever_the_old_instance_says() -> None:
    assert (
        dcmread(io.BytesIO(done(with_more(instance(), LossyImageCompression="")).data)).LossyImageCompression
        == "01"
    )
    native = instance(encoded(drawing(), "PNG"))
    assert dcmread(io.BytesIO(done(native).data)).LossyImageCompression == "00"


def test_a_picture_without_an_end_is_damaged() -> None:
    with pytest.raises(UnreadableImage, match="damaged"):
        strip_jpeg(encoded(drawing())[:-2])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (with_more(instance(), BurnedInAnnotation="YES"), "burnt in"),
        (dicom_file(drawing(), SOPClassUID=SECONDARY_CAPTURE), "secondary capture"),
        (dicom_file(drawing(), SOPClassUID="1.2.840.10008.5.1.4.1.1.77.1.1"), "of a kind"),
        (dicom_file(drawing(), ImageType=["ORIGINAL", "PRIMARY", "LABEL", "NONE"]), "label"),
        (dicom_file(np.stack([drawing(), drawing(seed=2)])), "2 frames"),
        (b"no dicom", "DICOM"),
    ],
)
def test_what_may_show_whose_it_is_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        done(data)


def test_a_secondary_capture_that_vouches_for_itself_is_taken() -> None:
    assert done(dicom_file(drawing(), SOPClassUID=SECONDARY_CAPTURE, BurnedInAnnotation="NO")).patient


def test_writing_in_the_picture_is_refused() -> None:

    picture = np.ascontiguousarray(drawing(300, 400))
    cv2.putText(picture, "DOE, JANE 1970", (20, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (0, 0, 0), 2, cv2.LINE_AA)
    with pytest.raises(UnreadableImage, match="writing"):
        done(instance(encoded(picture)))
