"""Camera files as VL Microscopic Images: what is in them, and that nothing of the picture changes."""

import io
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, VLMicroscopicImageStorage

from cds.errors import UnreadableImage
from cds.identifiers import is_uid
from cds.microscopy import derived_uid, to_dicom
from cds.pixels import PixelLimits, decode_dicom
from cds.values import SmearImage
from tests.fakes.images import SERIES_UID, STUDY_UID, dicom_file, drawing, encoded

LIMITS = PixelLimits()


def converted(data: bytes, **options: object) -> tuple[Dataset, SmearImage]:
    result = to_dicom(data, study_uid=STUDY_UID, series_uid=SERIES_UID, patient_id="MRN-7", **options)  # type: ignore[arg-type]
    (image,) = decode_dicom(result, LIMITS)
    assert isinstance(image, SmearImage), image
    return dcmread(io.BytesIO(result)), image


def stored_stream(dataset: Dataset) -> bytes:
    (stream,) = generate_frames(dataset.PixelData, number_of_frames=1)
    return stream


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_baseline_jpeg_keeps_its_bytes(subsampling: int) -> None:
    data = encoded(drawing(), subsampling=subsampling)
    dataset, image = converted(data)
    assert dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert dataset.PhotometricInterpretation == "YBR_FULL_422"
    assert stored_stream(dataset).removesuffix(b"\0") == data
    assert np.array_equal(image.pixels, np.array(Image.open(io.BytesIO(data))))
    assert (dataset.LossyImageCompression, dataset.LossyImageCompressionMethod) == ("01", "ISO_10918_1")


def test_an_rgb_jpeg_keeps_its_bytes_too() -> None:
    data = encoded(drawing(), keep_rgb=True)
    dataset, image = converted(data)
    assert dataset.PhotometricInterpretation == "RGB"
    assert stored_stream(dataset).removesuffix(b"\0") == data
    assert np.array_equal(image.pixels, np.array(Image.open(io.BytesIO(data))))


def test_a_progressive_or_turned_jpeg_is_stored_as_its_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for data in (encoded(drawing(), progressive=True), encoded(drawing(), exif=exif)):
        dataset, image = converted(data)
        assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert dataset.LossyImageCompression == "01"
        with Image.open(io.BytesIO(data)) as picture:
            shown = np.array(picture)
        assert np.array_equal(image.pixels, np.rot90(shown, -1) if image.pixels.shape[0] == 64 else shown)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("size", [(48, 64), (7, 9)])
def test_lossless_files_stay_lossless(kind: str, size: tuple[int, int]) -> None:
    picture = drawing(*size)
    dataset, image = converted(encoded(picture, kind))
    assert np.array_equal(image.pixels, picture)
    assert dataset.LossyImageCompression == "00"
    assert len(dataset.PixelData) % 2 == 0


def test_a_tiff_with_jpeg_inside_is_called_lossy() -> None:
    dataset, _ = converted(encoded(drawing(), "TIFF", compression="jpeg"))
    assert dataset.LossyImageCompression == "01"


def test_a_dicom_file_passes_unchanged() -> None:
    data = dicom_file(drawing())
    assert to_dicom(data, study_uid="2.25.5", series_uid="2.25.6", patient_id="x") == data


def test_what_the_instance_says() -> None:
    dataset, image = converted(
        encoded(drawing()),
        um_per_px=0.105,
        instance_number=3,
        acquired=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        specimen_id="S-1",
    )
    assert dataset.SOPClassUID == dataset.file_meta.MediaStorageSOPClassUID == VLMicroscopicImageStorage
    assert (dataset.StudyInstanceUID, dataset.SeriesInstanceUID) == (STUDY_UID, SERIES_UID)
    assert (dataset.PatientID, dataset.PatientName, dataset.Modality) == ("MRN-7", "", "GM")
    assert (dataset.StudyDate, dataset.StudyTime, dataset.InstanceNumber) == ("20260304", "050607", 3)
    assert dataset.ContainerIdentifier == dataset.SpecimenDescriptionSequence[0].SpecimenIdentifier == "S-1"
    assert is_uid(dataset.SpecimenDescriptionSequence[0].SpecimenUID)
    assert [float(v) for v in dataset.PixelSpacing] == [0.000105, 0.000105]
    assert image.um_per_px == pytest.approx(0.105)
    # Type 1 and 2 elements of the IOD's mandatory modules (PS3.3 table A.32.2-1); sequences of type 2 may be empty.
    for keyword in (
        *("PatientBirthDate", "PatientSex", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
        *("SeriesNumber", "Manufacturer", "ImageType", "PatientOrientation", "AcquisitionContextSequence"),
        *("IssuerOfTheContainerIdentifierSequence", "ContainerTypeCodeSequence", "LossyImageCompression"),
    ):
        assert keyword in dataset, keyword


def test_without_a_scale_none_is_written() -> None:
    dataset, image = converted(encoded(drawing()))
    assert not {"PixelSpacing", "ContentDate", "ContentTime"} & set(dataset.dir())
    assert image.um_per_px is None


def test_the_same_picture_is_the_same_instance() -> None:
    data = encoded(drawing())
    first = to_dicom(data, study_uid="2.25.1", series_uid="2.25.2", patient_id="x")
    assert to_dicom(data, study_uid="2.25.1", series_uid="2.25.2", patient_id="x") == first
    other_study, _ = converted(data)
    other_picture, _ = converted(encoded(drawing(seed=2)))
    uids = {
        dcmread(io.BytesIO(first)).SOPInstanceUID,
        other_study.SOPInstanceUID,
        other_picture.SOPInstanceUID,
    }
    assert len(uids) == 3
    assert all(is_uid(u) for u in uids)


def test_derived_uids_are_uids() -> None:
    assert all(is_uid(derived_uid("a", str(n))) for n in range(200))


@pytest.mark.parametrize(
    "data",
    [b"no image", encoded(drawing())[:300], encoded(drawing()[..., 0]), encoded(drawing(), "PNG")[:-30]],
)
def test_what_is_no_colour_picture_is_refused(data: bytes) -> None:
    with pytest.raises(UnreadableImage):
        to_dicom(data, study_uid=STUDY_UID, series_uid=SERIES_UID, patient_id="x")
