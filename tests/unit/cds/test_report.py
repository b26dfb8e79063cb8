"""The report's bundle. Golden files: `LEUKOCDS_TEST_RENEW_GOLDEN=1 pytest tests/unit/cds/test_report.py` writes them
anew; read their diff before you commit it."""

import json
import os
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from cds.errors import UpstreamInvalid
from cds.fhir_client import HttpFhirServer
from cds.report import report_bundle, report_reference
from cds.values import ModelIdentity, Pattern, StudyRef
from fhir_profiles.codes import TABLE
from fhir_profiles.definitions import definitions
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.results import AML, POOR, STUDY, finding, result

GOLDEN = Path(__file__).parent / "golden"
FINDINGS = [
    finding(Pattern.HEALTHY, {"segmented_neutrophil": 60, "lymphocyte": 40}),
    finding(Pattern.ALL, {"lymphoblast": 80, "lymphocyte": 20}),
    finding(Pattern.CLL, {"cll_lymphocyte": 80, "reactive_lymphocyte": 5, "segmented_neutrophil": 15}),
    finding(
        Pattern.CML,
        {"band_neutrophil": 30, "myelocyte": 25, "metamyelocyte": 25, "basophil": 8, "eosinophil": 12},
    ),
    finding(Pattern.INDETERMINATE, {"lymphocyte": 51, "plasma cell <odd>": 2}),
    finding(Pattern.INDETERMINATE, {}),
]


def resources(bundle, resource_type):
    found = [entry["resource"] for entry in bundle["entry"]]
    return [resource for resource in found if resource["resourceType"] == resource_type]


def part(bundle, name):
    """The Observation `differential` or `impression`, or the DiagnosticReport."""
    if name == "report":
        return resources(bundle, "DiagnosticReport")[0]
    found = resources(bundle, "Observation")
    return next(o for o in found if o["identifier"][0]["value"].endswith(f".{name}"))


@pytest.mark.parametrize(("name", "outcome"), [("report-aml", AML), ("report-not-analysed", POOR)])
def test_the_bundle_is_as_it_was(name, outcome):
    bundle = report_bundle(result(outcome))
    path = GOLDEN / f"{name}.json"
    if os.environ.get("LEUKOCDS_TEST_RENEW_GOLDEN") == "1":
        path.write_text(json.dumps(bundle, indent=2, ensure_ascii=False) + "\n")
    assert bundle == json.loads(path.read_text())


@pytest.mark.parametrize("outcome", [AML, POOR, *FINDINGS])
class TestEveryBundle:
    def test_is_the_same_for_the_same_result(self, outcome):
        assert report_bundle(result(outcome)) == report_bundle(result(outcome))

    def test_creates_each_resource_only_where_it_is_absent(self, outcome):
        bundle = report_bundle(result(outcome))
        assert bundle["type"] == "transaction"
        criteria = [entry["request"]["ifNoneExist"] for entry in bundle["entry"]]
        assert len(set(zip(criteria, (e["request"]["url"] for e in bundle["entry"]), strict=True))) == len(
            criteria
        )
        assert len({entry["fullUrl"] for entry in bundle["entry"]}) == len(criteria)
        for entry in bundle["entry"]:
            name, _, token = entry["request"]["ifNoneExist"].partition("=")
            resource = entry["resource"]
            own = resource["identifier"] if name == "identifier" else resource["meta"]["tag"]
            value = own[0]["value"] if name == "identifier" else own[0]["code"]
            assert token == f"{own[0]['system']}|{value}"
            assert entry["request"]["method"] == "POST"
            assert entry["request"]["url"] == resource["resourceType"]

    def test_refers_within_itself_or_to_what_the_study_names(self, outcome):
        bundle = report_bundle(result(outcome))
        text = json.dumps(bundle)
        inside = {entry["fullUrl"] for entry in bundle["entry"]}
        referred = set(re.findall(r'"reference": "([^"]+)"', text))
        known = {STUDY.patient, STUDY.encounter, STUDY.imaging_study}
        assert referred - inside == known
        assert known | inside >= referred

    def test_is_preliminary_and_labelled_as_software_speaking(self, outcome):
        bundle = report_bundle(result(outcome))
        assert "conclusionCode" not in json.dumps(bundle)
        assert not resources(bundle, "Condition")
        for kind in ("Observation", "DiagnosticReport"):
            assert {r["status"] for r in resources(bundle, kind)} == {"preliminary"}
        for resource in (entry["resource"] for entry in bundle["entry"]):
            asserted = resource["resourceType"] not in ("AuditEvent", "Device", "DocumentReference")
            labels = [label["code"] for label in resource["meta"].get("security", [])]
            assert labels == (["AIAST"] if asserted else [])
        assert "It is not a diagnosis." in part(bundle, "report")["conclusion"]

    def test_uses_no_code_but_those_of_the_table(self, outcome):
        table = {(code.system, code.code, code.display) for code in TABLE}
        codings = []

        def collect(value):
            if isinstance(value, dict):
                codings.extend(value.get("coding", []))
                codings.extend(value.get("security", []))
                for inner in value.values():
                    collect(inner)
            elif isinstance(value, list):
                for inner in value:
                    collect(inner)

        collect(report_bundle(result(outcome)))
        assert codings
        assert {(c["system"], c["code"], c["display"]) for c in codings} <= table

    def test_has_text_for_a_person_in_every_resource(self, outcome):
        for entry in report_bundle(result(outcome))["entry"]:
            text = entry["resource"]["text"]
            assert text["status"] == "generated"
            div = ElementTree.fromstring(text["div"])
            assert div.tag == "{http://www.w3.org/1999/xhtml}div"
            assert len("".join(div.itertext())) > 20

    def test_claims_a_profile_of_its_type(self, outcome):
        profiles = {d["url"]: d["type"] for d in definitions() if d["resourceType"] == "StructureDefinition"}
        for resource in (entry["resource"] for entry in report_bundle(result(outcome))["entry"]):
            (claimed,) = resource["meta"]["profile"]
            assert profiles[claimed] == resource["resourceType"]

    def test_holds_nothing_empty(self, outcome):
        def check(value):
            assert value not in (None, "", [], {})
            for inner in (
                value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
            ):
                check(inner)

        check(report_bundle(result(outcome)))


def test_the_differential_gives_number_and_percent_of_each_type():
    observation = part(report_bundle(result(AML)), "differential")
    values = {}
    for component in observation["component"]:
        for coding in component["code"].get("coding", []):
            values[coding["code"], coding["system"].rpartition(":")[2]] = component.get(
                "valueInteger", component.get("valueQuantity", {}).get("value")
            )
    assert values["white-cells-counted", "result"] == 100
    assert values["26446-5", "//loinc.org"] == 31
    assert values["myeloblast", "cell-count"] == values["myeloblast", "cell-type"] == 31
    assert values["30445-1", "//loinc.org"] == 31
    assert values["erythroblast", "cell-count"] == 2
    assert values["smudge_cell", "cell-count"] == 5
    assert not any(code == "platelet_or_artifact" for code, _ in values)
    shares = [
        c["valueQuantity"]["value"]
        for c in observation["component"]
        if any(x["system"] == "urn:leukocds:cell-type" for x in c["code"].get("coding", []))
        and c["valueQuantity"]["unit"] == "%"
        and c["code"]["text"] != "Smudge cell"
    ]
    assert sum(shares) == pytest.approx(100)


def test_the_impression_gives_the_pattern_and_five_probabilities():
    observation = part(report_bundle(result(AML)), "impression")
    assert observation["valueCodeableConcept"]["coding"] == [
        {"system": "urn:leukocds:pattern", "code": "AML", "display": "Pattern of acute myeloid leukemia"}
    ]
    probabilities = {
        c["code"]["coding"][0]["code"]: c["valueQuantity"]["value"]
        for c in observation["component"]
        if "valueQuantity" in c
    }
    assert probabilities == {"healthy": 0.004, "ALL": 0.021, "AML": 0.93, "CLL": 0.005, "CML": 0.04}
    assert observation["component"][-1]["valueBoolean"] is True
    assert observation["interpretation"][0]["coding"][0]["code"] == "AA"


@pytest.mark.parametrize(
    ("outcome", "begins", "says"),
    [
        (
            AML,
            "Possible acute promyelocytic leukemia",
            "Pattern of acute myeloid leukemia (probability 93 %).",
        ),
        (AML, "", "100 white cells in 1 image; 1 could not be used."),
        (FINDINGS[0], "No leukemia pattern found (probability 90 %).", "Plain evidence."),
        (FINDINGS[3], "Pattern of chronic myeloid leukemia", "never validated on real CML patients"),
        (FINDINGS[4], "Indeterminate pattern: no pattern is likely enough.", "Plain evidence."),
        (POOR, "Blood smear not analysed: image quality too poor.", "All 2 images are blurred"),
    ],
)
def test_the_conclusion_in_words(outcome, begins, says):
    conclusion = part(report_bundle(result(outcome)), "report")["conclusion"]
    assert conclusion.startswith(begins)
    assert says in conclusion
    assert "leukocds-cells-resnet34 0.1.0" in conclusion


def test_a_smear_that_was_not_analysed_has_no_value_and_no_differential():
    bundle = report_bundle(result(POOR))
    assert len(resources(bundle, "Observation")) == 1
    impression = part(bundle, "impression")
    assert "valueCodeableConcept" not in impression
    assert [c["code"] for c in impression["dataAbsentReason"]["coding"]] == ["not-performed", "poor-quality"]
    assert "All 2 images are blurred" in impression["dataAbsentReason"]["text"]
    assert len(part(bundle, "report")["result"]) == 1


def test_another_package_makes_another_report():
    other = ModelIdentity(name="other", version="2", digest="77" * 32)
    one, two = report_bundle(result()), report_bundle(result(model=other))
    assert not {e["request"]["ifNoneExist"] for e in one["entry"]} & {
        e["request"]["ifNoneExist"] for e in two["entry"]
    }


def test_a_study_without_imaging_study_is_named_by_its_uid():
    report = part(report_bundle(result(study=replace(STUDY, imaging_study=None, encounter=None))), "report")
    (reference,) = report["imagingStudy"]
    assert "reference" not in reference
    assert reference["identifier"] == {"system": "urn:dicom:uid", "value": f"urn:oid:{STUDY.study_uid}"}
    assert "encounter" not in report


@pytest.mark.parametrize(
    ("started", "effective"),
    [
        ("2026-03-02", "2026-03-02"),
        ("2026-03", "2026-03"),
        ("2026-03-02T10:15:00.5Z", "2026-03-02T10:15:00.500000Z"),
        (None, "2026-03-02T09:20:30.123000Z"),
        ("2026-13-45", "2026-03-02T09:20:30.123000Z"),
        ("2026-03-02T10:15", "2026-03-02T09:20:30.123000Z"),
        ("yesterday", "2026-03-02T09:20:30.123000Z"),
    ],
)
def test_when_the_smear_was_taken_else_when_it_was_read(started, effective):
    bundle = report_bundle(result(study=replace(STUDY, started=started)))
    assert part(bundle, "report")["effectiveDateTime"] == effective
    assert part(bundle, "impression")["effectiveDateTime"] == effective


def test_nothing_is_said_twice():
    reason = "blasts are neither few nor many"
    evidence = (f"Indeterminate: {reason}.", "9 of 100 are blasts.")
    outcome = finding(
        Pattern.INDETERMINATE, {"lymphocyte": 91, "myeloblast": 9}, reason=reason, evidence=evidence
    )
    bundle = report_bundle(result(outcome))
    assert part(bundle, "report")["conclusion"].count(reason) == 1
    assert part(bundle, "impression")["text"]["div"].count(reason) == 1
    assert part(bundle, "impression")["valueCodeableConcept"]["text"] == f"Indeterminate pattern: {reason}"
    cml = finding(
        Pattern.CML, {"myelocyte": 9}, evidence=("It was never validated on real CML patients.", "More.")
    )
    assert part(report_bundle(result(cml)), "report")["conclusion"].count("never validated") == 1


def test_markup_in_data_stays_text():
    outcome = finding(Pattern.HEALTHY, {"lymphocyte": 5}, evidence=("<script>alert('x')</script> & more",))
    div = part(report_bundle(result(outcome)), "impression")["text"]["div"]
    assert "<script>" not in div
    assert "alert('x')" in "".join(ElementTree.fromstring(div).itertext())


def test_a_report_needs_a_patient():
    with pytest.raises(ValueError, match="needs a patient"):
        report_bundle(result(study=StudyRef(study_uid="1.2.3")))


def test_the_reference_of_a_report_created_and_of_one_matched():
    with FakeFhirServer() as fhir, HttpFhirServer(fhir.url) as client:
        references = {report_reference(client.transaction(report_bundle(result()))) for _ in range(3)}
        assert references == {"DiagnosticReport/diagnosticreport-1"}
        assert [
            len(fhir.of_type(t)) for t in ("Device", "Observation", "DiagnosticReport", "Provenance")
        ] == [
            1,
            2,
            1,
            1,
        ]


@pytest.mark.parametrize(
    ("entry", "reference"),
    [
        ({"response": {"location": "DiagnosticReport/7/_history/1"}}, "DiagnosticReport/7"),
        ({"response": {"location": "https://ehr.example/fhir/DiagnosticReport/a-7"}}, "DiagnosticReport/a-7"),
        ({"resource": {"resourceType": "DiagnosticReport", "id": "9"}, "response": {}}, "DiagnosticReport/9"),
    ],
)
def test_the_forms_of_a_location(entry, reference):
    assert report_reference({"entry": [{"response": {"location": "Device/1"}}, entry]}) == reference


@pytest.mark.parametrize(
    "response", [{}, {"entry": None}, {"entry": [{"response": {"location": "Device/1"}}, 7]}]
)
def test_a_response_that_does_not_say(response):
    with pytest.raises(UpstreamInvalid, match="does not say"):
        report_reference(response)
