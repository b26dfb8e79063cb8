"""Accession numbers, patients as DICOM names them."""

from datetime import date
from typing import Any

import pytest

from cds.fhir_client import HttpFhirServer
from cds.orders import NoOrder, find_order, record_number, subject_of
from cds.slide import Slide
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.gateway import order, patient


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ([{"family": "Doe", "given": ["Jane", "Q"], "prefix": ["Dr."]}], "Doe^Jane^Q^Dr."),
        ([{"family": "Old"}, {"use": "official", "family": "New"}], "New"),
        ([{"text": "Jane Doe"}], "Jane Doe"),
        ([{"family": "A^B=C\\D\n"}], "A B C D"),
        ([], ""),
        (None, ""),
    ],
)
def test_names(name: Any, written: str) -> None:
    assert subject_of({"id": "1", "name": name}).name == written


def test_a_partial_date_of_birth_is_left_out() -> None:
    assert subject_of({"id": "1", "birthDate": "1970-03"}).birth_date == ""
    assert subject_of({"id": "1", "gender": "unknown"}).sex == ""


def test_the_record_number_goes_before_other_identifiers() -> None:
    other = {"value": "other"}
    assert record_number(patient(7) | {"identifier": [other, *patient(7)["identifier"]]}) == "MRN-7"
    assert record_number({"id": "1", "identifier": [{"value": "back\\slash"}]}) == "1"


def find(slide: Slide, *resources: dict[str, Any], **options: Any) -> Any:
    with FakeFhirServer(*resources) as fake, HttpFhirServer(fake.url) as fhir:
        return find_order(fhir, slide, **options)


def test_a_number_of_another_type_is_no_accession_number() -> None:
    placer = order("A-1", "p-1", identifier=[{"value": "A-1", "type": {"coding": [{"code": "PLAC"}]}}])
    with pytest.raises(NoOrder, match="no order"):
        find(Slide(accession_number="A-1"), patient(1), placer)


def test_a_configured_system_tells_accession_numbers() -> None:
    ours = order("A-1", "p-1", identifier=[{"system": "urn:lab", "value": "A-1"}])
    theirs = order("A-1", "p-2", order_id="theirs", identifier=[{"system": "urn:radiology", "value": "A-1"}])
    found = find(
        Slide(accession_number="A-1"), patient(1), patient(2), ours, theirs, accession_system="urn:lab"
    )
    assert (found.patient, found.service_request) == ("Patient/p-1", "ServiceRequest/order-A-1")


def test_labels_that_agree_are_taken() -> None:

    slide = Slide(
        accession_number="A-1",
        patient_id="MRN-1",
        patient_name="MULLER1 Ann",
        patient_birth_date=date(1970, 1, 2),
    )
    assert find(slide, patient(1), order("A-1", "p-1")).subject.patient_id == "MRN-1"


def test_a_patient_who_is_not_there() -> None:
    with pytest.raises(NoOrder, match="patient is not on the FHIR server"):
        find(Slide(accession_number="A-1"), order("A-1", "p-1"))


@pytest.mark.parametrize(
    ("family", "label"),
    [
        ("van der Berg", "VANDERBERG^Ann"), ("Vandenberg", "Ann van den Berg"), ("O'Brien", "Obrien, Ann"),
        ("Núñez-Ångström", "nunez angstrom"), ("Weiß", "WEISS A."), ("Müller1", "Muller Ann"), ("王", "王小明"),
    ],
)  # fmt: skip
def test_a_name_may_be_written_in_other_ways(family: str, label: str) -> None:
    slide = Slide(accession_number="A-1", patient_name=label)
    whose = patient(1) | {"name": [{"family": family}]}
    assert find(slide, whose, order("A-1", "p-1")).patient == "Patient/p-1"


@pytest.mark.parametrize(
    ("family", "label"), [("Li", "Berlin^Jane"), ("Ann", "Hannah Doe"), ("Doe", "Doering")]
)
def test_a_name_that_only_begins_or_ends_alike_is_another(family: str, label: str) -> None:
    slide = Slide(accession_number="A-1", patient_name=label)
    with pytest.raises(NoOrder, match="patient_name"):
        find(slide, patient(1) | {"name": [{"family": family}]}, order("A-1", "p-1"))


def test_an_order_and_a_specimen_of_two_patients_are_not_believed() -> None:
    specimen = {
        "resourceType": "Specimen",
        "id": "s",
        "accessionIdentifier": {"value": "A-1"},
        "subject": {"reference": "Patient/p-2"},
    }
    with pytest.raises(NoOrder, match="different patients"):
        find(Slide(accession_number="A-1"), patient(1), patient(2), order("A-1", "p-1"), specimen)
