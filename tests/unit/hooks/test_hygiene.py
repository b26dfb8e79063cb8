from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from cds.feedback import Action, Outcome, Reason
from cds.values import CLASSES, Differential, NotAnalysedReason, Pattern
from fhir_profiles.codes import OVERRIDE_REASON, OVERRIDE_REASONS
from hooks.cds_requests import HookRequest
from hooks.hygiene import WILL_REVIEW_LATER, Identity, dealt_with, fingerprint, stable_key, user_of
from tests.fakes.assessments import finding, not_analysed

NOW = datetime(2026, 5, 2, 12, tzinfo=UTC)
DAY = timedelta(hours=24)
IDENTITY = Identity(key="k", fingerprint="f", user="u")


def action(hours_ago, outcome=Outcome.OVERRIDDEN, code="already-known", system=OVERRIDE_REASON):
    reason = Reason(system=system, code=code) if code else None
    return Action(outcome=outcome, at=NOW - timedelta(hours=hours_ago), reason=reason)


def test_the_uuid_is_the_same_for_the_same_key_finding_and_user_only():
    assert IDENTITY.uuid == replace(IDENTITY).uuid
    others = [replace(IDENTITY, **{name: "x"}).uuid for name in ("key", "fingerprint", "user")]
    assert len({IDENTITY.uuid, *others}) == 4
    assert Identity(key="\ud800", fingerprint="", user="").uuid


def test_the_key_is_of_one_study_of_one_patient():
    key = stable_key("leukemia-smear", "Patient/1", "1.2.3")
    assert key == stable_key("leukemia-smear", "Patient/1", "1.2.3")
    assert key != stable_key("leukemia-smear", "Patient/2", "1.2.3")
    assert key != stable_key("leukemia-smear", "Patient/1", "1.2.4")
    assert "Patient" not in key


def test_the_same_user_id_at_another_server_is_another_user():
    here = asked_by("Practitioner/1", "https://a.example/fhir")
    there = asked_by("Practitioner/1", "https://b.example/fhir")
    nobody = asked_by(None, "https://a.example/fhir")
    assert len({user_of(here), user_of(there), user_of(nobody)}) == 3
    assert user_of(nobody) == ""


def test_the_same_user_id_told_by_another_client_is_another_user():
    told = [
        asked_by("Practitioner/1", "https://a.example/fhir", issuer) for issuer in (None, "iss-1", "iss-2")
    ]
    assert len({user_of(request) for request in told}) == 3
    assert user_of(asked_by(None, None, "iss-1")) == ""


def asked_by(user, server, issuer=None):
    return HookRequest(
        hook="patient-view",
        hook_instance=UUID(int=1),
        patient_id="1",
        user_id=user,
        fhir_server=server,
        issuer=issuer,
    )


def sure(pattern, probability):
    rest = (1 - probability) / 4
    return {c: probability if c is pattern else rest for c in CLASSES}


@pytest.mark.parametrize(
    "changes",
    [
        {"pattern": Pattern.ALL},
        {"pattern": Pattern.INDETERMINATE, "reason": "between patterns"},
        {"possible_apl": False},
        {"probabilities": sure(Pattern.ALL, 0.9)},
        {"probabilities": sure(Pattern.AML, 0.3)},
    ],
)
def test_what_changes_the_verdict_is_material(changes):
    base = replace(finding(), probabilities=sure(Pattern.AML, 0.9))
    assert fingerprint(base, None) != fingerprint(replace(base, **changes), None)


@pytest.mark.parametrize(
    "changes",
    [
        {"probabilities": sure(Pattern.AML, 0.904)},
        {"probabilities": sure(Pattern.AML, 0.7)},
        {"evidence": ("Other words.",)},
        {"differential": Differential({"myeloblast": 45, "lymphocyte": 55})},
        {"cells": ()},
    ],
)
def test_figures_that_move_are_not_material(changes):
    base = replace(finding(), probabilities=sure(Pattern.AML, 0.9))
    assert fingerprint(base, None) == fingerprint(replace(base, **changes), None)


def test_a_probability_that_moves_within_rounding_about_one_half_is_not_material():
    below, above = (replace(finding(), probabilities=sure(Pattern.AML, p)) for p in (0.4993, 0.5007))
    assert fingerprint(below, None) == fingerprint(above, None)


def test_signing_the_report_is_material_and_so_is_amending_it():
    said = {fingerprint(finding(), signed) for signed in (None, "final", "amended")}
    assert len(said) == 3


def test_why_a_smear_was_not_analysed_is_material():
    other = replace(not_analysed(), reason=NotAnalysedReason.POOR_QUALITY)
    assert fingerprint(not_analysed(), None) != fingerprint(other, None)
    assert fingerprint(not_analysed(), None) == fingerprint(replace(not_analysed(), detail="x"), None)


@pytest.mark.parametrize(
    ("actions", "indicator", "repeat", "hidden"),
    [
        ([], "critical", DAY, False),
        ([action(1, Outcome.ACCEPTED, None)], "critical", DAY, True),
        ([action(999, Outcome.ACCEPTED, None)], "critical", DAY, True),
        ([action(999)], "warning", DAY, True),
        ([action(999)], "info", timedelta(0), True),
        ([action(23)], "critical", DAY, True),
        ([action(25)], "critical", DAY, False),
        ([action(25), action(1)], "critical", DAY, True),
        ([action(25)], "critical", None, True),
        ([action(0)], "critical", timedelta(0), False),
        ([action(0, code=None)], "warning", DAY, True),
        ([action(23, code=WILL_REVIEW_LATER)], "warning", DAY, True),
        ([action(25, code=WILL_REVIEW_LATER)], "warning", DAY, False),
        ([action(25, code=WILL_REVIEW_LATER, system="urn:other")], "warning", DAY, True),
        ([action(50, code=WILL_REVIEW_LATER), action(30)], "warning", DAY, True),
        ([action(50), action(30, code=WILL_REVIEW_LATER)], "warning", DAY, False),
    ],
)
def test_who_has_dealt_with_a_card(actions, indicator, repeat, hidden):
    assert dealt_with(actions, indicator, repeat, NOW) is hidden


def test_the_reason_that_puts_a_card_off_is_one_that_is_offered():
    assert WILL_REVIEW_LATER in OVERRIDE_REASONS
