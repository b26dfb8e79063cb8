"""Reports on a real HAPI FHIR R4 server: valid, written once however often and by however many, and found again."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from cds.allowlist import AllowList
from cds.errors import UpstreamError, UpstreamNotFound, UpstreamRefused
from cds.fhir_client import HttpFhirServer
from cds.locate import locate
from cds.model_cards import ModelCards
from cds.pipeline import write_back
from cds.report import report_bundle, report_reference
from cds.report_attachments import Attachments
from cds.values import Assessment, ModelIdentity, Pattern, StudyRef
from tests.fakes.results import AML, POOR, finding, result
from tests.fakes.validation import install_profiles, validate

COUNTED = ("Device", "Observation", "DiagnosticReport", "Provenance")


@pytest.fixture(scope="module")
def fhir(hapi_url):
    with HttpFhirServer(hapi_url, connect_timeout_s=5, read_timeout_s=120) as server:
        install_profiles(server)
        yield server


@pytest.fixture
def study(fhir) -> StudyRef:
    """A patient in a visit with an ImagingStudy of a smear, new for each test."""
    patient, visit, smear, endpoint = (uuid.uuid4().urn for _ in range(4))
    uid = f"2.25.{uuid.uuid4().int}"
    ambulatory = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}
    wado = {
        "system": "http://terminology.hl7.org/CodeSystem/endpoint-connection-type",
        "code": "dicom-wado-rs",
    }
    microscopy = {"system": "http://dicom.nema.org/resources/ontology/DCM", "code": "GM"}
    resources = {
        patient: {"resourceType": "Patient", "active": True},
        visit: {
            "resourceType": "Encounter",
            "status": "in-progress",
            "class": ambulatory,
            "subject": {"reference": patient},
        },
        endpoint: {
            "resourceType": "Endpoint",
            "status": "active",
            "connectionType": wado,
            "payloadType": [{"text": "DICOM"}],
            "address": "http://pacs.example/dicom-web/",
        },
        smear: {
            "resourceType": "ImagingStudy",
            "status": "available",
            "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{uid}"}],
            "subject": {"reference": patient},
            "encounter": {"reference": visit},
            "started": "2026-03-02T10:15:00+01:00",
            "modality": [microscopy],
            "endpoint": [{"reference": endpoint}],
            "series": [{"uid": f"{uid}.1", "modality": microscopy, "numberOfInstances": 2}],
        },
    }
    entries = [
        {"fullUrl": url, "resource": r, "request": {"method": "POST", "url": r["resourceType"]}}
        for url, r in resources.items()
    ]
    response = fhir.transaction({"resourceType": "Bundle", "type": "transaction", "entry": entries})
    reference = response["entry"][0]["response"]["location"].partition("/_history/")[0]
    assert reference.startswith("Patient/")
    studies = fhir.search("ImagingStudy", {"patient": reference})
    located = locate(studies, modalities=["GM"], allow_list=AllowList(["pacs.example"]), endpoint=fhir.read)
    assert located.problems == ()
    return located.studies[0]


def assess(study: StudyRef, outcome=AML) -> Assessment:
    """A result of a package of its own, so that its Device is new too."""
    model = ModelIdentity(name="test", version="1", digest=uuid.uuid4().hex * 2)
    return replace(result(outcome, study=study, model=model), instance_uids=(f"{study.study_uid}.1.1",))


def numbers(fhir, assessment: Assessment) -> dict[str, int]:
    """How many of each resource of this result the server holds."""
    queries = {
        "Device": {"identifier": f"urn:leukocds:model-package|{assessment.model.digest}"},
        "Observation": {"patient": assessment.study.patient},
        "DiagnosticReport": {"patient": assessment.study.patient},
        "Provenance": {"_tag": f"urn:leukocds:assessment|{assessment.key}"},
    }
    return {kind: len(fhir.search(kind, queries[kind])) for kind in COUNTED}


def test_a_study_is_found_as_a_hospital_server_gives_it(fhir, study):
    assert study.archive_url == "http://pacs.example/dicom-web"
    assert study.number_of_instances == 2
    assert study.patient.startswith("Patient/")
    assert study.encounter.startswith("Encounter/")
    assert fhir.read(study.imaging_study)["id"] == study.imaging_study.partition("/")[2]


@pytest.mark.parametrize(
    "outcome",
    [
        AML,
        POOR,
        finding(Pattern.HEALTHY, {"segmented_neutrophil": 60, "lymphocyte": 40}),
        finding(Pattern.INDETERMINATE, {"reactive_lymphocyte": 5, "cll_lymphocyte": 4, "a new type": 1}),
        finding(
            Pattern.CML,
            {"band_neutrophil": 9, "myelocyte": 5, "metamyelocyte": 5, "basophil": 3, "eosinophil": 3},
        ),
    ],
    ids=["aml", "not-analysed", "healthy", "indeterminate", "cml"],
)
def test_every_resource_is_valid(fhir, study, outcome):
    for entry in report_bundle(assess(study, outcome))["entry"]:
        assert validate(fhir.base_url, entry["resource"]).errors == []


def test_the_validator_is_awake(fhir, study):
    report = report_bundle(assess(study))["entry"][3]["resource"] | {"status": "bogus"}
    assert any("bogus" in error for error in validate(fhir.base_url, report).errors)


@pytest.mark.parametrize(("outcome", "observations"), [(AML, 2), (POOR, 1)], ids=["finding", "not-analysed"])
def test_posted_twice_and_by_many_at_once_it_is_written_once(fhir, study, outcome, observations):
    assessment = assess(study, outcome)
    bundle = report_bundle(assessment)
    with ThreadPoolExecutor(4) as pool:
        references = {report_reference(response) for response in pool.map(fhir.transaction, [bundle] * 4)}
    references |= {report_reference(fhir.transaction(bundle)) for _ in range(2)}
    assert len(references) == 1
    assert numbers(fhir, assessment) == {
        "Device": 1,
        "Observation": observations,
        "DiagnosticReport": 1,
        "Provenance": 1,
    }


def test_two_results_at_once_share_the_device(fhir, study):
    one = assess(study)
    other = replace(one, instance_uids=(f"{study.study_uid}.1.1", f"{study.study_uid}.1.2"))
    with ThreadPoolExecutor(4) as pool:
        bundles = [report_bundle(one), report_bundle(other)] * 2
        references = {report_reference(response) for response in pool.map(fhir.transaction, bundles)}
    assert len(references) == 2
    assert numbers(fhir, one) == {"Device": 1, "Observation": 4, "DiagnosticReport": 2, "Provenance": 1}


def test_the_report_is_found_again_and_hangs_together(fhir, study):
    assessment = assess(study)
    reference = report_reference(fhir.transaction(report_bundle(assessment)))

    (by_key,) = fhir.search("DiagnosticReport", {"identifier": f"urn:leukocds:assessment|{assessment.key}"})
    (by_code,) = fhir.search(
        "DiagnosticReport", {"patient": study.patient, "code": "http://loinc.org|18314-5", "_sort": "-date"}
    )
    report = fhir.read(reference)
    assert by_key == by_code == report
    assert report["status"] == "preliminary"
    assert report["subject"]["reference"] == study.patient
    assert report["encounter"]["reference"] == study.encounter
    assert report["imagingStudy"][0]["reference"] == study.imaging_study
    assert "Pattern of acute myeloid leukemia (probability 93 %)" in report["conclusion"]

    differential, impression = (fhir.read(result["reference"]) for result in report["result"])
    assert impression["valueCodeableConcept"]["coding"][0]["code"] == "AML"
    assert {"reference": f"Observation/{differential['id']}"} in impression["derivedFrom"]
    device = fhir.read(impression["device"]["reference"])
    assert device["identifier"][0]["value"] == assessment.model.digest

    (provenance,) = fhir.search("Provenance", {"target": reference})
    assert provenance["agent"][0]["who"]["reference"] == f"Device/{device['id']}"
    assert provenance["entity"][0]["what"]["reference"] == study.imaging_study
    (by_value,) = fhir.search(
        "Observation", {"patient": study.patient, "value-concept": "urn:leukocds:pattern|AML"}
    )
    assert by_value["id"] == impression["id"]


def test_a_result_of_five_hundred_images(fhir, study):
    uids = tuple(sorted(f"{study.study_uid}.1.{n}" for n in range(500)))
    assessment = replace(assess(study), instance_uids=uids)
    report_reference(fhir.transaction(report_bundle(assessment)))
    (provenance,) = fhir.search("Provenance", {"_tag": f"urn:leukocds:assessment|{assessment.key}"})
    assert len(provenance["entity"]) == 501


def test_a_report_about_a_patient_who_is_not_there_is_refused_and_leaves_nothing(fhir, study):
    assessment = assess(replace(study, patient=f"Patient/{uuid.uuid4()}"))
    with pytest.raises(UpstreamRefused, match=r"Patient/…") as caught:
        fhir.transaction(report_bundle(assessment))
    assert assessment.study.patient not in str(caught.value)
    assert numbers(fhir, assessment)["Device"] == 0


def test_what_is_not_there(fhir):
    with pytest.raises(UpstreamNotFound):
        fhir.read(f"Patient/{uuid.uuid4()}")


def test_pages(fhir, study):
    for _ in range(3):
        fhir.transaction(report_bundle(assess(study)))
    found = fhir.search("DiagnosticReport", {"patient": study.patient, "_count": "1"})
    assert len({report["id"] for report in found}) == 3


def test_capabilities(fhir):
    assert fhir.capabilities()["fhirVersion"] == "4.0.1"


def test_the_model_card_is_created_once_and_again_when_somebody_deleted_it(fhir, study):
    model = ModelIdentity(name="test", version="1", digest=uuid.uuid4().hex * 2)
    attachments = Attachments(model_card=b'{"name": "a card"}')
    readings = [
        replace(result(study=study, model=model), instance_uids=(f"{study.study_uid}.1.{n}",))
        for n in range(5)
    ]
    query = {"identifier": f"urn:leukocds:model-package|{model.digest}"}
    with ThreadPoolExecutor(4) as pool:  # four workers that know nothing of each other
        list(pool.map(lambda reading: write_back(reading, fhir, attachments=attachments), readings[:4]))
    (document,) = fhir.search("DocumentReference", query)
    assert validate(fhir.base_url, document).errors == []
    cards = ModelCards()
    assert cards.reference(model, b"{}", fhir) == f"DocumentReference/{document['id']}"

    for provenance in fhir.search("Provenance", {"entity": f"DocumentReference/{document['id']}"}):
        fhir.transaction(_deletion(f"Provenance/{provenance['id']}"))
    fhir.transaction(_deletion(f"DocumentReference/{document['id']}"))
    with pytest.raises(UpstreamError):
        write_back(readings[4], fhir, attachments=attachments, cards=cards)
    write_back(readings[4], fhir, attachments=attachments, cards=cards)
    (anew,) = fhir.search("DocumentReference", query)
    assert anew["id"] != document["id"]


def _deletion(reference):
    entry = {"request": {"method": "DELETE", "url": reference}}
    return {"resourceType": "Bundle", "type": "transaction", "entry": [entry]}
