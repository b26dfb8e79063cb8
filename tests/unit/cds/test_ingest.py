"""A folder becomes a study: stored once, registered once, whatever happens in between."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from cds.dicomweb import DicomWebArchive
from cds.errors import BadRequest, UpstreamNotFound, UpstreamRefused, UpstreamUnavailable
from cds.fhir_client import HttpFhirServer
from cds.identifiers import is_uid
from cds.imaging_study import MAX_LISTED_INSTANCES
from cds.ingest import Ingested, ingest_folder
from cds.pixels import PixelLimits
from cds.retrieve import retrieve_images
from cds.values import SmearImage
from hooks.demo.hospital import Hospital
from tests.fakes.dicomweb import FakeArchive, Fault
from tests.fakes.images import STUDY_UID, dicom_file, drawing, encoded

PATIENT = {
    "resourceType": "Patient",
    "id": "p1",
    "identifier": [
        {"system": "urn:other", "value": "SSN-1"},
        {"system": "urn:mrn", "value": "MRN-1", "type": {"coding": [{"code": "MR"}]}},
    ],
}


@pytest.fixture
def hospital() -> Iterator[Hospital]:
    with Hospital() as hospital:
        hospital.fhir.put(PATIENT)
        hospital.fhir.put({"resourceType": "Patient", "id": "p2"})
        yield hospital


@pytest.fixture
def archive() -> Iterator[FakeArchive]:
    with FakeArchive() as archive:
        yield archive


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b").mkdir()
    (tmp_path / "a.jpg").write_bytes(encoded(drawing(seed=1)))
    (tmp_path / "b" / "b.png").write_bytes(encoded(drawing(seed=2), "PNG"))
    (tmp_path / "c.tif").write_bytes(encoded(drawing(seed=3), "TIFF"))
    return tmp_path


def ingest(folder: Path, archive: FakeArchive, hospital: Hospital | None, **options: Any) -> Ingested:
    return ingest_folder(
        folder,
        archive=DicomWebArchive(archive.url, backoff_s=0.01, attempts=2, read_timeout_s=5),
        fhir=HttpFhirServer(hospital.fhir_url) if hospital else None,
        **({"patient": "Patient/p1"} | options),
    )


def test_a_folder_becomes_a_study(folder: Path, archive: FakeArchive, hospital: Hospital) -> None:
    done = ingest(folder, archive, hospital, um_per_px=0.1, started="2026-02-03T04:05:06Z")
    assert (done.instances, done.refused) == (3, ())
    assert is_uid(done.study_uid)
    assert done.imaging_study is not None

    client = DicomWebArchive(archive.url)
    images = list(retrieve_images(client, client.instances(done.study_uid)))
    assert all(isinstance(i, SmearImage) and i.um_per_px == pytest.approx(0.1) for i in images)
    for seed in (2, 3):
        assert any(isinstance(i, SmearImage) and np.array_equal(i.pixels, drawing(seed=seed)) for i in images)

    study = hospital.fhir.read("ImagingStudy", done.imaging_study.partition("/")[2])
    assert study["identifier"] == [{"system": "urn:dicom:uid", "value": f"urn:oid:{done.study_uid}"}]
    assert study["subject"] == {"reference": "Patient/p1"}
    assert study["started"] == "2026-02-03T04:05:06Z"
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (1, 3)
    assert study["modality"][0]["code"] == study["series"][0]["modality"]["code"] == "GM"
    listed = {i["uid"] for i in study["series"][0]["instance"]}
    assert listed == {r.sop_instance_uid for r in client.instances(done.study_uid)}
    endpoint = hospital.fhir.read("Endpoint", study["endpoint"][0]["reference"].partition("/")[2])
    assert endpoint["address"] == archive.url
    assert endpoint["connectionType"]["code"] == "dicom-wado-rs"


def test_the_medical_record_number_is_the_patient_id(
    folder: Path, archive: FakeArchive, hospital: Hospital
) -> None:
    done = ingest(folder, archive, hospital)
    stored = archive.archive.instances(done.study_uid)[0].data
    assert b"MRN-1" in stored
    assert b"SSN-1" not in stored


def test_an_identifier_that_dicom_cannot_hold_is_not_used(
    folder: Path, archive: FakeArchive, hospital: Hospital
) -> None:
    hospital.fhir.put({**PATIENT, "identifier": [{"value": "a\\b"}]})
    done = ingest(folder, archive, hospital)
    stored = dcmread(io.BytesIO(archive.archive.instances(done.study_uid)[0].data))
    assert stored.PatientID == "p1"


def test_again_changes_nothing(folder: Path, archive: FakeArchive, hospital: Hospital) -> None:
    first = ingest(folder, archive, hospital)
    counts = hospital.fhir.counts()
    assert ingest(folder, archive, hospital) == first
    assert hospital.fhir.counts() == counts
    assert set(archive.stored_times.values()) == {1}, "nothing is sent twice"


def test_after_an_outage_the_rest_follows(folder: Path, archive: FakeArchive, hospital: Hospital) -> None:
    with FakeArchive() as sound:
        whole = ingest(folder, sound, hospital).study_uid
    archive.faults["store"] = Fault.BROKEN
    with pytest.raises(UpstreamUnavailable):
        ingest(folder, archive, hospital)
    archive.faults.clear()
    done = ingest(folder, archive, hospital)
    assert (done.study_uid, done.instances) == (whole, 3)
    assert len(archive.archive.instances(whole)) == 3


def test_the_fhir_server_down_after_storing(folder: Path, archive: FakeArchive, hospital: Hospital) -> None:
    class Down(HttpFhirServer):
        def transaction(self, *_: Any) -> Any:
            raise UpstreamUnavailable("down")

    with pytest.raises(UpstreamUnavailable):
        ingest_folder(
            folder,
            archive=DicomWebArchive(archive.url),
            fhir=Down(hospital.fhir_url),
            patient="Patient/p1",
        )
    done = ingest(folder, archive, hospital)
    assert done.instances == 3
    assert set(archive.stored_times.values()) == {1}
    assert hospital.fhir.counts()["ImagingStudy"] == 1


def test_files_that_are_no_pictures_are_reported(
    folder: Path, archive: FakeArchive, hospital: Hospital
) -> None:
    (folder / "notes.txt").write_text("hello")
    (folder / "cut.jpg").write_bytes(encoded(drawing())[:500])
    (folder / "grey.png").write_bytes(encoded(drawing()[..., 0], "PNG"))
    (folder / "copy of a.jpg").write_bytes((folder / "a.jpg").read_bytes())
    (folder / ".hidden").write_text("passed over")
    done = ingest(folder, archive, hospital)
    assert done.instances == 3
    reasons = {r.source: str(r.reason) for r in done.refused}
    assert set(reasons) == {"notes.txt", "cut.jpg", "grey.png", "copy of a.jpg"}
    assert "same picture as a.jpg" in reasons["copy of a.jpg"]


def test_nothing_usable_stores_nothing(tmp_path: Path, archive: FakeArchive, hospital: Hospital) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    done = ingest(tmp_path, archive, hospital)
    assert (done.instances, done.imaging_study, len(done.refused)) == (0, None, 1)
    assert "ImagingStudy" not in hospital.fhir.counts()


def test_an_instance_that_the_archive_does_not_accept_is_reported(
    folder: Path, archive: FakeArchive, hospital: Hospital
) -> None:
    with FakeArchive() as other:
        done = ingest(folder, other, None)
        uid = other.archive.instances(done.study_uid)[0].sop_instance_uid
    archive.refuse_store = {uid: 0xA700}
    done = ingest(folder, archive, hospital)
    assert done.instances == 2
    assert len(done.refused) == 1
    assert "did not accept" in str(done.refused[0].reason)


def test_an_archive_that_accepts_nothing_is_an_error(folder: Path, archive: FakeArchive) -> None:
    archive.faults["store"] = Fault.UNAUTHORIZED
    with pytest.raises(UpstreamRefused):
        ingest(folder, archive, None)


def test_dicom_files_keep_their_study(tmp_path: Path, archive: FakeArchive, hospital: Hospital) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom_file(drawing(seed=1), sop_instance_uid="2.25.1"))
    (tmp_path / "b.jpg").write_bytes(encoded(drawing(seed=2)))
    done = ingest(tmp_path, archive, hospital)
    assert (done.study_uid, done.instances) == (STUDY_UID, 2)
    assert archive.archive.get(STUDY_UID, "2.25.1").data == (tmp_path / "a.dcm").read_bytes()  # type: ignore[union-attr]
    study = hospital.fhir.read("ImagingStudy", str(done.imaging_study).partition("/")[2])
    assert (study["numberOfSeries"], study["numberOfInstances"]) == (2, 2)


def test_dicom_files_of_two_studies_are_not_one_study(tmp_path: Path, archive: FakeArchive) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom_file(drawing(seed=1)))
    (tmp_path / "b.dcm").write_bytes(dicom_file(drawing(seed=2), StudyInstanceUID="2.25.999"))
    with pytest.raises(BadRequest, match="2 studies"):
        ingest(tmp_path, archive, None)
    done = ingest(tmp_path, archive, None, study_uid="2.25.999")
    assert (done.instances, [r.source for r in done.refused]) == (1, ["a.dcm"])


def test_a_study_that_grows_is_brought_up_to_date(
    folder: Path, archive: FakeArchive, hospital: Hospital
) -> None:
    first = ingest(folder, archive, hospital, study_uid="2.25.77")
    (folder / "d.jpg").write_bytes(encoded(drawing(seed=4)))
    second = ingest(folder, archive, hospital, study_uid="2.25.77")
    assert (first.imaging_study, second.instances) == (second.imaging_study, 4)
    study = hospital.fhir.read("ImagingStudy", str(second.imaging_study).partition("/")[2])
    assert study["numberOfInstances"] == len(study["series"][0]["instance"]) == 4


def test_another_patients_study_is_not_touched(
    folder: Path, archive: FakeArchive, hospital: Hospital
) -> None:
    ingest(folder, archive, hospital, study_uid="2.25.77")
    (folder / "d.jpg").write_bytes(encoded(drawing(seed=4)))
    with pytest.raises(BadRequest, match="another patient"):
        ingest(folder, archive, hospital, study_uid="2.25.77", patient="Patient/p2")
    assert len(archive.archive.instances("2.25.77")) == 3


def test_the_same_pictures_of_another_patient_are_another_study(
    folder: Path, archive: FakeArchive, hospital: Hospital
) -> None:
    first = ingest(folder, archive, hospital)
    second = ingest(folder, archive, hospital, patient="Patient/p2")
    assert first.study_uid != second.study_uid
    assert hospital.fhir.counts()["Endpoint"] == 1


def test_an_unknown_patient_comes_to_light_before_anything_is_stored(
    folder: Path, archive: FakeArchive, hospital: Hospital
) -> None:
    with pytest.raises(UpstreamNotFound):
        ingest(folder, archive, hospital, patient="Patient/nobody")
    assert archive.requests == []


@pytest.mark.parametrize("options", [{"patient": "p1"}, {"patient": "Group/1"}, {"study_uid": "1.02"}])
def test_malformed_requests(options: dict[str, str], folder: Path, archive: FakeArchive) -> None:
    with pytest.raises(BadRequest):
        ingest(folder, archive, None, **options)


def test_no_folder(tmp_path: Path, archive: FakeArchive) -> None:
    with pytest.raises(BadRequest, match="no folder"):
        ingest(tmp_path / "gone", archive, None)


def test_many_files_go_in_bounded_batches_and_are_counted_not_listed(
    tmp_path: Path, archive: FakeArchive, hospital: Hospital
) -> None:
    count = MAX_LISTED_INSTANCES + 1
    for number in range(count):
        (tmp_path / f"{number:03}.png").write_bytes(encoded(drawing(8, 8, seed=number), "PNG"))
    steps: list[tuple[int, int, str]] = []
    done = ingest(tmp_path, archive, hospital, on_progress=lambda *step: steps.append(step))
    assert done.instances == count
    assert archive.count("POST") == -(-count // 16)
    study = hospital.fhir.read("ImagingStudy", str(done.imaging_study).partition("/")[2])
    assert study["numberOfInstances"] == count
    assert "instance" not in study["series"][0]
    assert [s[0] for s in steps] == list(range(1, 2 * count + 1))
    assert {s[1] for s in steps} == {2 * count}


def test_limits_hold(folder: Path, archive: FakeArchive) -> None:
    done = ingest(folder, archive, None, limits=PixelLimits(max_megapixels=0.001))
    assert (done.instances, len(done.refused)) == (0, 3)
    assert all("megapixels" in str(r.reason) for r in done.refused)
