"""`leukocds gateway` once and its subcommands, `leukocds export-training`, into the simulated hospital."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cds.review import Change, ChangeKind, Signature, SignatureState, Verdict
from cds.settings import Settings
from cds.store import SqlAssessmentStore
from cds.values import Cell, JobState, Pattern, ReportState, StudyRef
from hooks.bootstrap import model_identity, open_store
from hooks.cli import cli
from hooks.commands.upstreams import archive_of
from hooks.demo.hospital import Hospital
from hooks.gateway.serve import QueueAsAHook
from tests.fakes.assessments import READ_AT, assessment, finding
from tests.fakes.gateway import order, patient
from tests.fakes.images import drawing, encoded


@pytest.fixture
def hospital() -> Iterator[Hospital]:
    hospital = Hospital()
    hospital.fhir.put(patient(1))
    hospital.fhir.put(order("A-1", "p-1"))
    with hospital:
        yield hospital


class Lab:
    def __init__(self, folder: Path, hospital: Hospital) -> None:
        self.folder = folder / "gateway"
        self.environ = {
            "LEUKOCDS_GATEWAY_FOLDER": str(self.folder),
            "LEUKOCDS_ARCHIVE_URL": hospital.archive_url,
            "LEUKOCDS_FHIR_URL": hospital.fhir_url,
            "LEUKOCDS_DATABASE_URL": f"sqlite:///{folder}/store.db",
            **dict.fromkeys(
                [f"LEUKOCDS_GATEWAY_{name}_S" for name in ("STABLE", "SIDECAR_WAIT", "SETTLE")], "0.001"
            ),
        }

    def leave(self, name: str, accession: str | None) -> None:
        (self.folder / "in").mkdir(parents=True, exist_ok=True)
        (self.folder / "in" / name).write_bytes(encoded(drawing(seed=len(name))))
        if accession is not None:
            (self.folder / "in" / f"{name}.json").write_text(json.dumps({"accession_number": accession}))

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments), env=self.environ)

    def work(self) -> None:
        result = self.run("gateway", "--once")
        assert result.exit_code == 0, result.output


@pytest.fixture
def lab(tmp_path: Path, hospital: Hospital) -> Lab:
    return Lab(tmp_path, hospital)


def test_from_the_folder_to_a_job_in_the_store(lab: Lab, hospital: Hospital) -> None:
    lab.leave("1.jpg", "A-1")
    lab.work()
    assert hospital.fhir.counts()["ImagingStudy"] == 1

    store = SqlAssessmentStore(lab.environ["LEUKOCDS_DATABASE_URL"])
    assert store.job_counts()["queued"] == 1
    store.close()
    assert lab.run("gateway", "status").exit_code == 0


def test_a_person_deals_with_what_waits(lab: Lab, hospital: Hospital) -> None:
    lab.leave("one.jpg", "A-9")
    lab.leave("second.jpg", None)
    lab.work()
    status = lab.run("gateway", "status", "--json")
    assert status.exit_code == 1
    told = {image["file"]: image for image in json.loads(status.stdout)["open"]}
    assert (told["one.jpg"]["state"], told["second.jpg"]["state"]) == ("quarantined", "waiting")
    assert "no order" in lab.run("gateway", "status").stdout

    assert lab.run("gateway", "discard", told["one.jpg"]["id"], "--reason", "").exit_code == 1
    assert lab.run("gateway", "discard", told["one.jpg"]["id"], "--reason", "test").exit_code == 0
    assert lab.run("gateway", "restore", told["one.jpg"]["id"]).exit_code == 0
    hospital.fhir.put(order("A-9", "p-1"))
    assert lab.run("gateway", "retry", "--all").exit_code == 0
    assign = lab.run(
        "gateway", "assign", told["second.jpg"]["id"], "--accession", "A-1", "--objective", "100"
    )
    assert assign.exit_code == 0, assign.output
    lab.work()
    assert json.loads(lab.run("gateway", "status", "--json").stdout)["images"]["stored"] == 2


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["gateway", "status"], 2, "no gateway has worked"),
        (["gateway", "retry"], 2, "name images, or --all"),
    ],
)
def test_wrong_use(lab: Lab, arguments: list[str], status: int, said: str) -> None:
    result = lab.run(*arguments)
    assert (result.exit_code, said in result.output) == (status, True), result.output


@pytest.mark.parametrize("missing", ["LEUKOCDS_GATEWAY_FOLDER", "LEUKOCDS_ARCHIVE_URL", "LEUKOCDS_FHIR_URL"])
def test_a_missing_setting_is_named(lab: Lab, missing: str) -> None:
    del lab.environ[missing]
    result = lab.run("gateway", "--once")
    assert (result.exit_code, missing in result.output) == (2, True)


def test_servers_that_are_out_are_status_1(lab: Lab, hospital: Hospital) -> None:
    lab.leave("1.jpg", "A-1")
    hospital.stop()
    result = lab.run("gateway", "--once")
    assert (result.exit_code, "wait for a server" in result.output) == (1, True)
    assert "held up" in lab.run("gateway", "status").stdout


def test_a_study_is_queued_once_as_a_hook_queues_it(tmp_path: Path) -> None:
    settings = Settings(database_url=f"sqlite:///{tmp_path}/store.db")

    store = open_store(settings)
    store.migrate()
    queue = QueueAsAHook(settings)
    study = StudyRef(study_uid="2.25.1", patient="Patient/p-1", instance_uids=("2.25.2",))
    queue(study)
    queue(study)
    job, fresh = store.enqueue(study, model_identity(settings).digest)
    assert (job.state, fresh, store.job_counts()["queued"]) == (JobState.QUEUED, False, 1)
    store.close()


def test_export_of_a_study_in_the_archive(lab: Lab, hospital: Hospital, tmp_path: Path) -> None:
    lab.leave("1.jpg", "A-1")
    lab.work()
    (study,) = hospital.fhir.search("ImagingStudy", {})
    uid = study["identifier"][0]["value"].removeprefix("urn:oid:")
    out, key = tmp_path / "out", tmp_path / "key"
    options = ["--source", "lab", "--key", str(key)]
    result = lab.run("export-training", str(out), uid, *options)
    assert result.exit_code == 0, result.output
    assert "1 images" in result.stdout
    assert key.stat().st_mode & 0o077 == 0
    manifest = (out / "manifest.csv").read_text()
    again = lab.run("export-training", str(out), uid, *options)
    assert (again.exit_code, (out / "manifest.csv").read_text()) == (0, manifest)
    for path in out.rglob("*"):
        assert path.is_dir() or (b"MRN-1" not in path.read_bytes() and uid.encode() not in path.read_bytes())


def test_cells_that_a_clinician_typed_and_signed_are_exported(
    lab: Lab, hospital: Hospital, tmp_path: Path
) -> None:
    lab.leave("1.jpg", "A-1")
    sidecar = lab.folder / "in" / "1.jpg.json"
    sidecar.write_text(json.dumps({"accession_number": "A-1", "um_per_px": 0.1}))
    lab.work()
    (study,) = hospital.fhir.search("ImagingStudy", {})
    uid = study["identifier"][0]["value"].removeprefix("urn:oid:")
    store = SqlAssessmentStore(lab.environ["LEUKOCDS_DATABASE_URL"])
    (ref,) = archive_of(Settings(archive_url=lab.environ["LEUKOCDS_ARCHIVE_URL"])).instances(uid)
    cells = tuple(
        Cell(source=ref.sop_instance_uid, row=40 + 9 * n, column=50, cell_type="monocyte", probability=0.6)
        for n in range(4)
    )
    made = assessment(outcome=replace(finding(), cells=cells))
    made = replace(made, study=replace(made.study, study_uid=uid))
    store.save(made, ReportState.PENDING)
    by = {"user": "Practitioner/1", "name": "Dr. Hem", "at": READ_AT}
    for number, (kind, cell, value) in enumerate(
        [
            (ChangeKind.RECLASSIFY, 0, "myeloblast"),
            (ChangeKind.RECLASSIFY, 1, "monocyte"),
            (ChangeKind.EXCLUDE, 2, ""),
        ],
        1,
    ):
        store.add_change(made.key, Change(number=number, kind=kind, cells=(cell,), value=value, **by))
    options = [uid, "--source", "lab", "--key", str(tmp_path / "key")]
    assert "0 labelled cells" in lab.run("export-training", str(tmp_path / "unsigned"), *options).stdout
    signature = Signature(
        assessment_key=made.key, number=4, signed_at=READ_AT, user="Practitioner/1", name="Dr. Hem",
        verdict=Verdict.AMEND, conclusion=Pattern.AML,
    )  # fmt: skip
    store.sign(Change(number=4, kind=ChangeKind.SIGN, **by), signature, SignatureState.PENDING)
    store.add_change(
        made.key,
        Change(number=5, kind=ChangeKind.RECLASSIFY, cells=(3,), value="basophil", **by),
    )
    store.close()
    result = lab.run("export-training", str(tmp_path / "signed"), *options)
    assert "2 labelled cells" in result.stdout, result.output
    manifest = (tmp_path / "signed" / "manifest.csv").read_text()
    assert manifest.count(",myeloblast,") == manifest.count(",monocyte,") == 1
    assert "basophil" not in manifest


def test_export_says_what_it_refuses(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "x.dcm").write_bytes(b"MZ")
    options = ["--source", "lab", "--key", str(tmp_path / "key")]
    result = lab.run("export-training", str(tmp_path / "out"), str(tmp_path / "dicom"), *options)
    assert (result.exit_code, "refused: x.dcm" in result.output) == (1, True)
    assert lab.run("export-training", str(tmp_path / "out"), "nowhere", *options).exit_code == 2
    nowhere = ["--source", "lab", "--key", str(tmp_path / "no" / "key")]
    assert lab.run("export-training", str(tmp_path / "out"), "2.25.1", *nowhere).exit_code == 2
    (tmp_path / "key").write_text("no key")
    assert lab.run("export-training", str(tmp_path / "out"), "2.25.1", *options).exit_code == 2
