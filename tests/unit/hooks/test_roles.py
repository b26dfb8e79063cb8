"""From what an EHR says of somebody to what they may do here."""

from datetime import UTC, datetime, timedelta

import pytest

from cds.errors import SignInFailed
from cds.settings import Settings
from hooks.issuers import Issuer
from hooks.roles import session_of
from hooks.smart import Identity

NOW = datetime(2026, 3, 4, tzinfo=UTC)


def session(claims=None, fhir_user="Practitioner/1", patient="Patient/p-1", **rules):
    issuer = Issuer(
        name="Example EHR", iss="https://ehr.example/fhir", client_id="leukocds", secret=None, key_id=None,
        launch_scopes=(), standalone_scopes=(), same_ids=rules.pop("same_ids", True), standalone=True,
        **{"reviewers": (), "operators": (), "all_patients": (), **rules},
    )  # fmt: skip
    identity = Identity(claims=claims or {}, fhir_user=fhir_user, patient=patient)
    return session_of(identity, issuer, Settings(session_max_h=2), NOW)


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        ("Practitioner/1", True),
        ("Practitioner/11", False),
        ("Practitioner/*", True),
        ("PractitionerRole/*", False),
        ("groups=lab", True),
        ("groups=la", False),
        ("department=hematology", True),
        ("department=hema", False),
        ("admin=true", False),
        ("gone=x", False),
    ],
)
def test_rules(rule, fits):
    claims = {"groups": ["staff", "lab"], "department": "hematology", "admin": True}
    assert session(claims, reviewers=(rule,)).may_review is fits
    assert session(claims, operators=(rule,)).may_operate is fits
    assert (session(claims, all_patients=(rule,)).patient is None) is fits


def test_without_a_rule_nobody_may_more_than_look_at_the_patient_of_the_launch():
    got = session()
    assert (got.may_review, got.may_operate, got.patient) == (False, False, "Patient/p-1")
    assert got.ends_at == NOW + timedelta(hours=2)


def test_a_type_rule_of_another_server_does_not_fit():
    elsewhere = "https://other.example/fhir/Practitioner/1"
    assert not session(fhir_user=elsewhere, reviewers=("Practitioner/*", "Practitioner/1")).may_review


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"name": "Dr. Ada  Example\n"}, "Dr. Ada Example"),
        ({"given_name": "Ada", "family_name": "Example"}, "Ada Example"),
        ({"preferred_username": "ada"}, "ada"),
        ({"name": ["x"]}, "Practitioner/1"),
        ({}, "Practitioner/1"),
        ({"name": "x" * 500}, "x" * 79 + "…"),
    ],
)
def test_names(claims, name):
    assert session(claims).name == name


def test_nobody_comes_in_who_would_see_nothing():
    with pytest.raises(SignInFailed, match="no patient open"):
        session(patient=None, reviewers=("Practitioner/*",))
    with pytest.raises(SignInFailed, match="other numbers"):
        session(same_ids=False)


def test_the_patient_of_another_server_limits_nobody_who_sees_all():
    got = session(same_ids=False, all_patients=("Practitioner/1",))
    assert (got.patient, got.user) == (None, "https://ehr.example/fhir/Practitioner/1")
