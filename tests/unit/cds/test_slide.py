"""What a laboratory may say of a picture, and how an instance says it."""

import io
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import ImageCms
from pydicom import Dataset, config, dcmread
from pydicom.sr.codedict import codes

from cds.microscopy import to_dicom
from cds.slide import Slide, Subject
from tests.fakes.images import drawing, encoded

SLIDE = Slide(
    accession_number="A-17", specimen_id="A-17-1", stain="May-Grünwald Giemsa", objective=100, um_per_px=0.08,
    operator="Roe", acquired=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC), manufacturer="Maker", microscope="M1",
    serial_number="7",
)  # fmt: skip
SUBJECT = Subject(patient_id="MRN-7", name="Müller^Ann", birth_date="19700102", sex="F")
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def instance(data: bytes, slide: Slide = SLIDE) -> bytes:
    return to_dicom(
        data, study_uid="2.25.1", series_uid="2.25.2", subject=SUBJECT, slide=slide, acquired=slide.acquired
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("accession_number", ""),
        ("accession_number", "A" * 17),
        ("accession_number", " A-1"),
        ("specimen_id", "back\\slash"),
        ("stain", "two\nlines"),
        ("objective", 0.1),
        ("um_per_px", 25.0),
        ("um_per_px", float("nan")),
        ("acquired", datetime(2026, 3, 4)),
    ],
)
def test_a_wrong_value_is_named(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        Slide(**{"accession_number": "A-1", field: value})


@pytest.mark.parametrize("wrong", [{"birth_date": "1970-01-02"}, {"sex": "female"}])
def test_demographics_are_written_as_dicom_writes_them(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        Subject(patient_id="1", **wrong)


def test_the_instance_says_how_the_picture_was_made() -> None:
    dataset = dcmread(io.BytesIO(instance(encoded(drawing()))))
    assert (str(dataset.PatientName), dataset.PatientBirthDate, dataset.PatientSex) == (
        "Müller^Ann",
        "19700102",
        "F",
    )
    assert (dataset.AccessionNumber, dataset.ContainerIdentifier) == ("A-17", "A-17-1")
    assert (dataset.Manufacturer, dataset.ManufacturerModelName, dataset.DeviceSerialNumber) == (
        "Maker",
        "M1",
        "7",
    )
    assert dataset.OperatorsName == "Roe"
    assert dataset.AcquisitionDateTime == "20260304050607+0000"
    assert dataset.TimezoneOffsetFromUTC == "+0000"
    (path,) = dataset.OpticalPathSequence
    assert (path.ObjectiveLensPower, path.ColorSpace) == (100, "SRGB")
    assert path.IlluminationTypeCodeSequence[0].CodeValue == "111744"
    assert path.ICCProfile[36:40] == b"acsp"


def test_an_icc_profile_of_the_file_is_kept() -> None:
    dataset = dcmread(io.BytesIO(instance(encoded(drawing(), icc_profile=ICC))))
    (path,) = dataset.OpticalPathSequence
    assert path.ICCProfile.rstrip(b"\0") == ICC.rstrip(b"\0")
    assert "ColorSpace" not in path


def _staining(dataset: Dataset) -> Dataset:
    (described,) = dataset.SpecimenDescriptionSequence
    (step,) = described.SpecimenPreparationSequence
    return step.SpecimenPreparationStepContentItemSequence[2]


@pytest.mark.parametrize(
    "text", ["May-Grünwald Giemsa", "MGG", "may grunwald-giemsa stain", "Pappenheim", "May-Gruenwald Giemsa"]
)
def test_a_known_stain_is_coded_however_it_is_written(text: str) -> None:
    item = _staining(
        dcmread(io.BytesIO(instance(encoded(drawing()), Slide(accession_number="A", stain=text))))
    )
    assert item.ConceptCodeSequence[0].CodeValue == codes.cid8112.MayGrunwaldGiemsaStain.value


def test_an_unknown_stain_stays_in_words() -> None:
    item = _staining(
        dcmread(io.BytesIO(instance(encoded(drawing()), Slide(accession_number="A", stain="House blue"))))
    )
    assert (item.ValueType, item.TextValue) == ("TEXT", "House blue")


def test_the_same_picture_makes_the_same_file() -> None:
    assert instance(encoded(drawing())) == instance(encoded(drawing()))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_the_instances_are_valid(kind: str, tmp_path: Path) -> None:
    """By pydicom strictly, and by dciodvfy where it is installed (Debian: dicom3tools)."""
    data = instance(encoded(drawing(), kind))
    file = tmp_path / "x.dcm"
    file.write_bytes(data)

    with config.strict_reading():  # type: ignore[no-untyped-call]
        for element in dcmread(file).iterall():
            _ = element.value
    if program := shutil.which("dciodvfy"):
        done = subprocess.run(
            [program, "-new", file], capture_output=True, text=True, timeout=60, check=False
        )
        assert "Error" not in done.stderr, done.stderr
        assert "VLMicroscopicImage" in done.stderr
