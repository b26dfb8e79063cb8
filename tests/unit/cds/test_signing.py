"""What a signature makes of a report, on a fake server; tests/servers/test_signing_hapi.py does it on a real one."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cds.errors import UpstreamInvalid
from cds.fhir_client import HttpFhirServer
from cds.pipeline import write_back
from cds.review import Signature, Verdict
from cds.signed_report import signed_bundle
from cds.signing import write_signature
from cds.values import Assessment, Differential, ModelIdentity, Pattern
from fhir_profiles.codes import profile
from tests.fakes.assessments import imaging_study_of
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.results import READ_AT, STUDY, result

REPORT = "DiagnosticReport/diagnosticreport-1"
CLINICIAN = {"reference": "Practitioner/7", "display": "Dr Hem"}


@pytest.fixture
def server() -> Iterator[FakeFhirServer]:
    with FakeFhirServer(imaging_study_of(STUDY)) as fake:
        yield fake


@pytest.fixture
def fhir(server: FakeFhirServer) -> Iterator[HttpFhirServer]:
    with HttpFhirServer(server.url) as client:
        yield client


def reading(number: int = 1) -> Assessment:
    model = ModelIdentity(name="cells", version=str(number), digest=f"{number:x}" * 64)
    return replace(result(model=model), read_at=READ_AT + timedelta(hours=number))


def signature(made: Assessment, number: int = 1, **changes: Any) -> Signature:
    values = {
        "verdict": Verdict.AMEND,
        "conclusion": Pattern.AML,
        "differential": Differential({"myeloblast": 40, "segmented_neutrophil": 60}),
        **changes,
    }
    return Signature(
        assessment_key=made.key, number=number, signed_at=datetime(2026, 3, 3, 8, tzinfo=UTC),
        user="Practitioner/7", name="Dr Hem", **values,
    )  # fmt: skip


def report_of(server: FakeFhirServer, reference: str = REPORT) -> dict[str, Any]:
    return deepcopy(server.resources[reference])


def test_the_report_is_the_clinicians_and_the_provenance_names_what_it_was(server, fhir):
    made = reading()
    write_back(made, fhir)
    machine = [r["reference"] for r in report_of(server)["result"]]
    assert write_signature(made, signature(made), REPORT, fhir)
    report = report_of(server)
    assert (report["status"], report["resultsInterpreter"]) == ("final", [CLINICIAN])
    assert not set(machine) & {r["reference"] for r in report["result"]}
    assert {server.resources[m]["status"] for m in machine} == {"preliminary"}
    provenance = server.of_type("Provenance")[-1]
    assert [agent["who"] for agent in provenance["agent"]] == [CLINICIAN, CLINICIAN]
    assert {"role": "revision", "what": {"reference": f"{REPORT}/_history/1"}} in provenance["entity"]
    assert {e["what"]["reference"] for e in provenance["entity"] if e["role"] == "source"} == set(machine)


def test_a_repeated_signature_writes_nothing_and_a_later_one_amends(server, fhir):
    made = reading()
    write_back(made, fhir)
    assert write_signature(made, signature(made, 1), REPORT, fhir)
    assert not write_signature(made, signature(made, 1), REPORT, fhir)
    assert write_signature(made, signature(made, 5), REPORT, fhir)
    assert report_of(server)["status"] == "amended"
    before = dict(server.resources)
    assert not write_signature(made, signature(made, 1), REPORT, fhir), "an older one arrives late"
    assert server.resources == before


def test_what_others_write_meanwhile_is_read_before_it_is_signed(server, fhir):
    made = reading()
    write_back(made, fhir)

    class Slow:
        """Somebody changes the report between our reading and our writing, once."""

        def __getattr__(self, name):
            return getattr(fhir, name)

        def read(self, reference, deadline=None):
            found = fhir.read(reference, deadline)
            if report_of(server)["meta"]["versionId"] == "1":
                fhir.update({**found, "encounter": {"reference": "Encounter/moved"}})
            return found

    assert write_signature(made, signature(made), REPORT, Slow())
    report = report_of(server)
    assert (report["status"], report["encounter"]["reference"]) == ("final", "Encounter/moved")
    provenance = server.of_type("Provenance")[-1]
    assert provenance["entity"][0]["what"]["reference"] == f"{REPORT}/_history/2"


@pytest.mark.parametrize("verdict", [Verdict.AGREE, Verdict.AMEND])
def test_a_later_reading_leaves_what_was_signed_as_it_is(server, fhir, verdict):
    made = reading(1)
    write_back(made, fhir)
    write_signature(made, signature(made, verdict=verdict), REPORT, fhir)
    names = (REPORT, *(r["reference"] for r in report_of(server)["result"]))
    before = {name: report_of(server, name) for name in names}
    write_back(made, fhir)
    write_back(reading(2), fhir)
    assert {name: report_of(server, name) for name in names} == before


def test_a_signed_report_is_superseded_no_longer(server, fhir):
    made = reading(1)
    write_back(made, fhir)
    write_back(reading(2), fhir)
    assert [e["url"] for e in report_of(server)["extension"]] == [profile("superseded-by")]
    rejected = signature(made, 1, verdict=Verdict.REJECT, conclusion=None, differential=None)
    assert write_signature(made, rejected, REPORT, fhir)
    assert (report_of(server)["status"], "extension" in report_of(server)) == ("cancelled", True)
    assert write_signature(made, signature(made, 2), REPORT, fhir)
    assert (report_of(server)["status"], "extension" in report_of(server)) == ("final", False)


def test_another_report_or_one_without_a_version_is_not_signed(server, fhir):
    made, other = reading(1), reading(2)
    write_back(made, fhir)
    with pytest.raises(UpstreamInvalid, match="does not hold the report"):
        write_signature(other, signature(other), REPORT, fhir)
    report = report_of(server)
    del report["meta"]["versionId"]
    with pytest.raises(UpstreamInvalid):
        signed_bundle(made, signature(made), report, {})
