"""The finding as DICOM: what it says, that highdicom reads it back, and that it is always the same."""

import io
import time
from dataclasses import replace

import pytest
from highdicom.sr import Comprehensive3DSR
from pydicom import Dataset, dcmread
from pydicom.uid import Comprehensive3DSRStorage

from cds.structured_report import structured_report
from cds.values import CLASSES, Assessment, Differential, Finding, ImageRef, Pattern
from tests.fakes.assessments import assessment

COUNTS = {"myeloblast": 40, "segmented_neutrophil": 57, "lymphocyte": 3}


def described() -> Dataset:
    shared = Dataset()
    shared.PatientName, shared.PatientID = "Müller^Jörg", "p-2088"
    shared.PatientBirthDate, shared.PatientSex = "19500203", "M"
    shared.StudyDate, shared.StudyTime, shared.StudyID = "20260304", "050607", "7"
    shared.AccessionNumber, shared.ReferringPhysicianName = "A-1", ""
    return shared


def made(**finding: object) -> tuple[Assessment, bytes]:
    filled = {
        "pattern": Pattern.AML,
        "probabilities": dict(zip(CLASSES, (0.1, 0.2, 0.5, 0.05, 0.15), strict=True)),
        "differential": Differential(COUNTS, {"smudge_cell": 2}),
        "evidence": (),
    }
    made_of = assessment(outcome=Finding(**(filled | finding)))  # type: ignore[arg-type]
    images = [
        ImageRef(
            study_uid=made_of.study.study_uid,
            series_uid="1.2.9",
            sop_instance_uid=uid,
            sop_class_uid="1.2.840.10008.5.1.4.1.1.77.1.2",
        )
        for uid in made_of.instance_uids
    ]
    return made_of, structured_report(made_of, images, described(), series_uid="2.25.9")


def read_back(data: bytes) -> Comprehensive3DSR:
    return Comprehensive3DSR.from_dataset(dcmread(io.BytesIO(data)))


def test_measurements_and_pattern_are_read_back() -> None:
    _, data = made()
    (group,) = read_back(data).content.get_image_measurement_groups()
    values = {
        (m.name.value, m.name.scheme_designator): (m.value, m.unit.value) for m in group.get_measurements()
    }
    assert values["white-cells-counted", "99LEUKOCDS"] == (100, "{cells}")
    assert values["26446-5", "LN"] == (40, "%")  # blasts
    assert values["segmented_neutrophil", "99LEUKOCDS"] == (57, "{cells}")
    assert values["26505-8", "LN"] == (57, "%")
    assert values["AML", "99LEUKOCDS"] == (0.5, "1")
    (pattern,) = group.get_qualitative_evaluations()
    assert (pattern.name.value, pattern.value.value) == ("5909-7", "AML")
    assert {i.referenced_sop_instance_uid for i in group.source_images} == {"1.2.3.0", "1.2.3.1"}


def test_it_is_the_images_patient_and_study_and_no_human_s_word() -> None:
    made_of, data = made()
    report = read_back(data)
    assert report.SOPClassUID == Comprehensive3DSRStorage
    assert (str(report.PatientName), report.PatientID) == ("Müller^Jörg", "p-2088")
    assert (report.StudyInstanceUID, report.AccessionNumber) == (made_of.study.study_uid, "A-1")
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert report.PreliminaryFlag == "PRELIMINARY"
    assert report.SoftwareVersions == made_of.model.version
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert [i.ReferencedSOPInstanceUID for i in evidence.ReferencedSOPSequence] == ["1.2.3.0", "1.2.3.1"]


def test_the_same_finding_is_the_same_file_whenever_it_is_written() -> None:
    _, first = made()
    time.sleep(1.1)  # DICOM times have seconds
    assert made()[1] == first


def test_another_package_s_finding_is_another_instance() -> None:
    made_of, data = made()
    other = replace(made_of, model=replace(made_of.model, digest="cd" * 32))
    image = ImageRef(
        study_uid=made_of.study.study_uid,
        series_uid="1.2.9",
        sop_instance_uid="1.2.3.0",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.77.1.6",
    )
    beside = structured_report(other, [image], described(), series_uid="2.25.9")
    assert dcmread(io.BytesIO(beside)).SOPInstanceUID != dcmread(io.BytesIO(data)).SOPInstanceUID


@pytest.mark.parametrize(
    ("pattern", "said"),
    [(Pattern.HEALTHY, ["healthy", "17621005"]), (Pattern.INDETERMINATE, ["indeterminate"])],
)
def test_other_patterns(pattern: Pattern, said: list[str]) -> None:
    reason = "too close" if pattern is Pattern.INDETERMINATE else None
    _, data = made(pattern=pattern, reason=reason)
    (group,) = read_back(data).content.get_image_measurement_groups()
    assert [e.value.value for e in group.get_qualitative_evaluations()] == said


def test_cells_of_another_reader_that_have_no_code_are_left_out() -> None:
    _, data = made(differential=Differential({"plasma cell": 3, "lymphocyte": 7}))
    (group,) = read_back(data).content.get_image_measurement_groups()
    assert "plasma cell" not in {m.name.value for m in group.get_measurements()}
