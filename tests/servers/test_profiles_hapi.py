"""The profiles on a real HAPI FHIR R4 server: they install, hold for what we write, and fail what breaks them."""

import copy
import json
import time
import uuid
from dataclasses import replace

import pytest
from click.testing import CliRunner

from cds.fhir_client import HttpFhirServer
from cds.language import message, words
from cds.reading_task import Progress, Stage, show_stage
from cds.report import report_bundle, report_reference
from cds.report_attachments import Attachments, CellPicture
from cds.values import Cell, Job, JobState, NotAnalysed, NotAnalysedReason, Pattern, StudyRef
from fhir_profiles.codes import CANONICAL
from fhir_profiles.definitions import definitions, examples
from hooks.cli import cli
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.findings import told
from tests.fakes.images import drawing, encoded
from tests.fakes.results import AML, INSTANCES, MODEL, POOR, READ_AT, finding, result
from tests.fakes.validation import install_profiles, validate

CELL = Cell(source=f"{INSTANCES[0]}#3", row=10.25, column=20, cell_type="myeloblast", probability=0.912345)
ATTACHMENTS = Attachments(
    pictures=tuple(
        CellPicture(cell=cell, jpeg=encoded(drawing(seed=seed)), activation_map=seed == 1)
        for seed, cell in enumerate((CELL, replace(CELL, cell_type="of another reader", source=INSTANCES[0])))
    ),
    model_card=b'{"name": "a card"}',
)
EXAMPLES = {(r["resourceType"], r["id"]): r for r in examples()}


@pytest.fixture(scope="module")
def fhir(hapi_url):
    with HttpFhirServer(hapi_url, connect_timeout_s=5, read_timeout_s=120) as server:
        install_profiles(server)
        yield server


def test_the_command_installs_them_however_often(fhir):
    for _ in range(2):
        done = CliRunner().invoke(cli, ["profiles", "install", fhir.base_url])
        assert done.exit_code == 0, done.output
        assert done.output == f"{len(definitions())} definitions are on {fhir.base_url}\n"
    (held,) = fhir.search(
        "StructureDefinition", {"url": f"{CANONICAL}/StructureDefinition/leukocds-smear-report"}
    )
    assert held["meta"]["versionId"] == "1" or held["version"] == definitions()[0]["version"]


@pytest.mark.parametrize("definition", definitions(), ids=lambda r: r["id"])
def test_every_definition_is_valid(fhir, definition):
    assert validate(fhir.base_url, definition).errors == []


@pytest.mark.parametrize("key", EXAMPLES, ids="/".join)
def test_every_example_is_valid(fhir, key):
    assert validate(fhir.base_url, EXAMPLES[key]).errors == []


def test_every_profile_of_a_resource_has_an_example():
    claimed = {url for example in EXAMPLES.values() for url in example.get("meta", {}).get("profile", [])}
    profiles = {d["url"] for d in definitions() if d["resourceType"] == "StructureDefinition"}
    extensions = {d["url"] for d in definitions() if d.get("type") == "Extension"}
    assert claimed == profiles - extensions
    text = json.dumps(list(EXAMPLES.values()))
    assert all(url in text for url in extensions)


@pytest.mark.parametrize(
    "outcome",
    [
        AML,
        POOR,
        finding(Pattern.HEALTHY, {"segmented_neutrophil": 60, "lymphocyte": 40}),
        finding(Pattern.INDETERMINATE, {"reactive_lymphocyte": 5, "cll_lymphocyte": 4, "a new type": 1}),
        finding(Pattern.INDETERMINATE, {}),
        finding(
            Pattern.CML,
            {"band_neutrophil": 9, "myelocyte": 5, "metamyelocyte": 5, "basophil": 3, "eosinophil": 3},
        ),
    ],
    ids=["aml", "not-analysed", "healthy", "indeterminate", "no-cells", "cml"],
)
def test_everything_of_a_report_conforms_to_the_profile_it_claims(fhir, outcome):
    unknown = 0
    for entry in report_bundle(result(outcome), ATTACHMENTS, server=fhir.base_url)["entry"]:
        resource = entry["resource"]
        (profile,) = resource["meta"]["profile"]
        assert profile.startswith(f"{CANONICAL}/StructureDefinition/leukocds-")
        verdict = validate(fhir.base_url, resource)
        assert verdict.errors == [], resource["resourceType"]
        unknown += len(verdict.unknown)
    # LOINC, SNOMED CT and DICOM are not there to ask: their codes are confirmed in the code table.
    assert unknown > 0


@pytest.mark.parametrize("name", ["AML", "APL", "CLL", "CML", "healthy", "indeterminate"])
def test_everything_of_a_german_report_conforms_too(fhir, name):
    bundle = report_bundle(result(told(name)), ATTACHMENTS, server=fhir.base_url, words=words("de"))
    for entry in bundle["entry"]:
        verdict = validate(fhir.base_url, entry["resource"])
        assert verdict.errors == [], entry["resource"]["resourceType"]
        assert verdict.about_language == []


def test_a_german_task_and_what_was_not_analysed_conform(fhir):
    nothing = NotAnalysed(
        reason=NotAnalysedReason.NO_IMAGES, detail=message("The image archive holds no images of this study.")
    )
    for entry in report_bundle(result(nothing), words=words("de"))["entry"]:
        assert validate(fhir.base_url, entry["resource"]).errors == []
    job = Job(
        key="k", study=result().study, model_digest=MODEL.digest, state=JobState.FAILED, created_at=READ_AT,
        updated_at=READ_AT,
    )  # fmt: skip
    stage = Stage(progress=Progress.FAILED, reason=message("the worker was stopped"))
    with FakeFhirServer() as fake, HttpFhirServer(fake.url) as server:
        show_stage(job, stage, server, confirm=lambda: None, words=words("de"))
        (task,) = fake.of_type("Task")
    assert task["statusReason"]["text"] == "der Worker wurde angehalten"
    assert task["language"] == "de"
    del task["meta"]["versionId"]
    verdict = validate(fhir.base_url, task)
    assert (verdict.errors, verdict.about_language) == ([], [])


def _broken(kind, rid, change):
    resource = copy.deepcopy(EXAMPLES[kind, rid])
    change(resource)
    return resource


@pytest.mark.parametrize(
    ("kind", "rid", "change", "says"),
    [
        ("DiagnosticReport", "example-aml", lambda r: r["meta"].pop("security"), "leukocds-labelled"),
        ("DiagnosticReport", "example-aml", lambda r: r.update(status="final"), "leukocds-signed-by-human"),
        ("DiagnosticReport", "example-aml", lambda r: r.update(status="partial"), "Status of a report"),
        (
            "DiagnosticReport",
            "example-aml",
            lambda r: r.update(conclusionCode=[{"text": "AML"}]),
            "leukocds-preliminary-unsigned",
        ),
        ("DiagnosticReport", "example-superseded", lambda r: r.update(status="preliminary"), "leukocds-superseded"),
        ("DiagnosticReport", "example-signed-report", lambda r: r.pop("resultsInterpreter"), "resultsInterpreter"),
        ("Observation", "example-aml-differential", lambda r: r["component"].pop(0), "whiteCells"),
        ("Observation", "example-aml-impression", lambda r: r.pop("valueCodeableConcept"), "value-or-reason"),
        (
            "Observation",
            "example-aml-impression",
            lambda r: r["valueCodeableConcept"]["coding"][0].update(code="ABC"),
            "Patterns of a differential",
        ),
        ("Observation", "example-corrected-differential", lambda r: r.pop("performer"), "performer"),
        ("Device", "example-model", lambda r: r.pop("text"), "Device.text"),
        ("DocumentReference", "example-model", lambda r: r["identifier"].pop(), "identifier"),
        ("Media", "example-aml-cell-1", lambda r: r["extension"][0]["extension"].pop(0), "extension:type"),
        ("Provenance", "example-aml", lambda r: r["agent"][0].pop("role"), "agent.role"),
        ("Provenance", "example-signature", lambda r: r["agent"][0].pop("type"), "agent:signer"),
        (
            "Provenance",
            "example-aml-supersedes-superseded",
            lambda r: r["entity"][0].update(role="source"),
            "revision",
        ),
        ("AuditEvent", "example-aml-images-read", lambda r: r["entity"].pop(), "entity:patient"),
        ("AuditEvent", "example-aml-report-written", lambda r: r["agent"].pop(), "agent:server"),
        ("Task", "example-failed", lambda r: r.pop("statusReason"), "leukocds-task-reason"),
    ],
)  # fmt: skip
def test_what_breaks_a_profile_fails(fhir, kind, rid, change, says):
    errors = validate(fhir.base_url, _broken(kind, rid, change)).errors
    assert any(says in error for error in errors), errors


def test_reports_are_found_by_their_imaging_study(fhir):
    (parameter,) = [d for d in definitions() if d["resourceType"] == "SearchParameter"]
    ends = time.monotonic() + 90
    while parameter["code"] not in _parameters(fhir, "DiagnosticReport"):
        assert time.monotonic() < ends, "the server does not take up the search parameter"
        time.sleep(1)
    number = uuid.uuid4().hex[:12]
    patient = {"resourceType": "Patient", "id": f"patient-{number}", "active": True}
    smears = [
        {
            "resourceType": "ImagingStudy",
            "id": f"smear-{n}-{number}",
            "status": "available",
            "subject": {"reference": f"Patient/{patient['id']}"},
        }
        for n in (1, 2)
    ]
    entries = [
        {"resource": r, "request": {"method": "PUT", "url": f"{r['resourceType']}/{r['id']}"}}
        for r in (patient, *smears)
    ]
    fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": entries})
    written = []
    for smear in smears:
        study = StudyRef(
            study_uid=f"2.25.{uuid.uuid4().int}",
            patient=f"Patient/{patient['id']}",
            imaging_study=f"ImagingStudy/{smear['id']}",
        )
        written.append(report_reference(fhir.transaction(report_bundle(result(study=study)))))
    for smear, reference in zip(smears, written, strict=True):
        found = fhir.search("DiagnosticReport", {"imaging-study": f"ImagingStudy/{smear['id']}"})
        assert [f"DiagnosticReport/{report['id']}" for report in found] == [reference]


def _parameters(fhir, resource_type):
    resources = fhir.capabilities()["rest"][0]["resource"]
    return {p["name"] for r in resources if r["type"] == resource_type for p in r.get("searchParam", [])}
