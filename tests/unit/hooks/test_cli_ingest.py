"""`leukocds ingest` into the simulated hospital."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hooks.cli import cli
from hooks.demo.hospital import Hospital
from tests.fakes.images import drawing, encoded


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in (1, 2, 3):
        (tmp_path / f"{seed}.png").write_bytes(encoded(drawing(seed=seed), "PNG"))
    return tmp_path


def ingest(hospital: Hospital, *arguments: object) -> Result:
    environ = {"LEUKOCDS_ARCHIVE_URL": hospital.archive_url, "LEUKOCDS_FHIR_URL": hospital.fhir_url}
    return CliRunner().invoke(cli, ["ingest", *map(str, arguments)], env=environ)


@pytest.fixture
def hospital() -> Hospital:
    hospital = Hospital()
    hospital.fhir.put({"resourceType": "Patient", "id": "p1"})
    return hospital


def test_images_become_a_study_of_the_patient(hospital: Hospital, folder: Path) -> None:
    with hospital:
        result = ingest(hospital, folder, "--patient", "Patient/p1", "--um-per-px", "0.1")
    assert result.exit_code == 0, result.output
    (study,) = hospital.fhir.search("ImagingStudy", {"patient": "p1"})
    uid = study["identifier"][0]["value"].removeprefix("urn:oid:")
    assert len(hospital.archive.instances(uid)) == 3
    assert uid in result.stdout
    assert f"ImagingStudy/{study['id']}" in result.stdout
    assert "3 images, 0 refused" in result.stdout


def test_refused_files_are_listed_and_are_status_3(hospital: Hospital, folder: Path) -> None:
    (folder / "broken.jpg").write_bytes(encoded(drawing())[:700])
    with hospital:
        result = ingest(hospital, folder, "--patient", "Patient/p1")
    assert result.exit_code == 3
    assert "refused: broken.jpg: " in result.stderr
    assert "3 images, 1 refused" in result.stdout


def test_a_folder_without_images_is_status_1(hospital: Hospital, tmp_path: Path) -> None:
    with hospital:
        result = ingest(hospital, tmp_path, "--patient", "Patient/p1")
    assert result.exit_code == 1
    assert "nothing was stored" in result.stderr
    assert hospital.fhir.search("ImagingStudy", {}) == []


def test_an_unknown_patient_is_status_1_and_stores_nothing(hospital: Hospital, folder: Path) -> None:
    with hospital:
        result = ingest(hospital, folder, "--patient", "Patient/stranger")
    assert result.exit_code == 1
    assert hospital.fhir.counts() == {"Patient": 1}


def test_servers_that_are_down_are_status_1(hospital: Hospital, folder: Path) -> None:
    hospital.stop()
    result = ingest(hospital, folder, "--patient", "Patient/p1")
    assert result.exit_code == 1
    assert "FHIR server" in result.stderr


@pytest.mark.parametrize(
    "patient", ["p1", "Practitioner/p1", "Patient/", "Patient/a/b", "http://x/Patient/p1"]
)
def test_a_patient_is_named_as_patient_slash_id(hospital: Hospital, folder: Path, patient: str) -> None:
    result = ingest(hospital, folder, "--patient", patient)
    assert result.exit_code == 2
    assert "Patient/ID" in result.stderr


def test_wrong_use_is_status_2(hospital: Hospital, folder: Path) -> None:
    assert ingest(hospital, folder).exit_code == 2
    assert ingest(hospital, "/no/such/folder", "--patient", "Patient/p1").exit_code == 2
    unset = CliRunner().invoke(cli, ["ingest", str(folder), "--patient", "Patient/p1"])
    assert unset.exit_code == 2
    assert "LEUKOCDS_ARCHIVE_URL is not set" in unset.stderr
