from dataclasses import replace

import pytest

from cds.errors import UpstreamUnavailable
from cds.review import ChangeKind, SignatureState, Verdict
from cds.values import Pattern, ReportState
from hooks.app import create_app
from tests.fakes.assessments import assessment, finding, not_analysed
from tests.fakes.fhir_server import FakeFhirServer
from tests.fakes.hook_requests import patient
from tests.fakes.signed_in import sign_in

ADA = {"user": "Practitioner/1", "name": "Dr. Ada"}
BEN = {"user": "Practitioner/2", "name": "Dr. Ben"}


class Reviewer:
    """A browser with the page of one reading open."""

    def __init__(self, context, made, **session):
        self.client = create_app(context).test_client()
        self.token = sign_in(self.client, context, **session)
        self.url = f"/api/studies/{made.key}"
        self.version = 0

    def post(self, path, body=None, *, version=None, token=None, **more):
        sent = {"version": self.version if version is None else version, **(body or {})}
        headers = {"X-CSRF-Token": self.token if token is None else token, "Accept": "application/json"}
        answer = self.client.post(f"{self.url}/{path}", **{"json": sent, "headers": headers, **more})
        if answer.status_code == 200:
            self.version = answer.json["version"]
        return answer

    def change(self, kind, cells=(), value="", **more):
        return self.post("changes", {"kind": kind, "cells": list(cells), "value": value}, **more)


def why(answer):
    return answer.json["issue"][0]["diagnostics"]


@pytest.fixture
def made(context):
    made = assessment(outcome=finding(6))
    context.store.save(made, ReportState.PENDING)
    return made


@pytest.fixture
def ada(context, made):
    return Reviewer(context, made, **ADA)


def test_a_change_is_stored_and_answered_with_what_follows_from_it(context, made, ada):
    answer = ada.change("reclassify", [0, 2], "monocyte")
    assert answer.status_code == 200
    assert answer.json["version"] == 1
    assert answer.json["cells"]["2"] == {"type": "monocyte", "name": "Monocyte", "by": "Dr. Ada"}
    assert answer.json["undoable"]
    assert "2 cells: Monocyte" in answer.json["html"]["history"]
    (stored,) = context.store.review(made.key).changes
    assert (stored.kind, stored.cells, stored.user) == (ChangeKind.RECLASSIFY, (0, 2), "Practitioner/1")


def test_undo_takes_ones_own_last_change_back(context, made, ada):
    ada.change("exclude", [1])
    answer = ada.post("undo")
    assert answer.json["cells"] == {}
    assert [c.kind for c in context.store.review(made.key).changes] == [ChangeKind.EXCLUDE, ChangeKind.UNDO]
    assert (ada.post("undo").status_code, why(ada.post("undo"))) == (
        400,
        "There is no change of yours to undo.",
    )


def test_of_two_at_once_the_second_is_told_and_nothing_is_overwritten(context, made, ada):
    ben = Reviewer(context, made, **BEN)
    assert ada.change("reclassify", [0], "monocyte").status_code == 200
    answer = ben.change("reclassify", [0], "basophil")
    assert answer.status_code == 409
    assert "your change was not stored" in why(answer)
    news = ben.client.get(f"{ben.url}/review?since=0").json["news"]
    assert news == [{"by": "Dr. Ada", "text": "1 cell: Monocyte"}]
    assert ben.change("reclassify", [0], "basophil", version=1).status_code == 200
    assert context.store.review(made.key).labels[0].value == "basophil"


@pytest.mark.parametrize("path", ["changes", "undo", "signature"])
def test_without_the_pages_token_nothing_changes(context, made, ada, path):
    for token in ("", "0" * 64, "é"):
        assert ada.post(path, token=token.encode()).status_code in (400, 403)
    assert context.store.review(made.key).version == 0


def test_from_another_site_nothing_changes(context, made, ada):
    headers = {"X-CSRF-Token": ada.token, "Origin": "https://elsewhere.example", "Accept": "application/json"}
    assert ada.change("exclude", [0], headers=headers).status_code == 403
    assert context.store.review(made.key).version == 0


@pytest.mark.parametrize(
    ("session", "status"),
    [
        ({"may_review": False}, 403),
        ({"may_review": False, "may_operate": True}, 403),
        ({"patient": "Patient/p-2"}, 403),
        ({"patient": "Patient/p-1"}, 200),
    ],
)
def test_who_may_change_something(context, made, session, status):
    someone = Reviewer(context, made, **session)
    assert someone.change("exclude", [0]).status_code == status
    assert context.store.review(made.key).version == int(status == 200)


@pytest.mark.parametrize("path", ["review", "patient", "images/0"])
def test_another_patients_study_is_not_shown(context, made, path):
    someone = Reviewer(context, made, patient="Patient/p-2")
    assert someone.client.get(f"{someone.url}/{path}").status_code == 403


def test_who_did_not_sign_in_learns_nothing(context, made):
    client = create_app(context).test_client()
    answers = {
        client.get(f"/api/studies/{key}/review", headers={"Accept": "application/json"}).status_code
        for key in (made.key, "00000000-0000-0000-0000-000000000000")
    }
    assert answers == {401}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"kind": "dream"}, "kind: one of"),
        ({"kind": "sign"}, "kind: one of"),
        ({"kind": "undo"}, "kind: one of"),
        ({"kind": "exclude", "cells": [6]}, "no such cell"),
        ({"kind": "exclude", "cells": [-1]}, "no such cell"),
        ({"kind": "exclude", "cells": [1, 1]}, "different positions"),
        ({"kind": "exclude", "cells": ["1"]}, "cells.0"),
        ({"kind": "exclude"}, "list of cells is empty"),
        ({"kind": "reclassify", "cells": [0], "value": "unicorn"}, "no such cell type"),
        ({"kind": "reclassify", "cells": [0]}, "no such cell type"),
        ({"kind": "comment", "cells": [0], "value": "x" * 2001}, "more than 2000"),
        ({"kind": "remark", "cells": [0], "value": "x"}, "too much"),
        ({"kind": "conclude", "value": "XYZ"}, "XYZ"),
        ({"kind": "decide", "value": "maybe"}, "maybe"),
        ({"kind": "exclude", "cells": [0], "more": 1}, "more"),
        ({"kind": "exclude", "cells": [0], "version": "0"}, "version"),
        ({"kind": "exclude", "cells": [0], "version": -3}, "number from 1"),
        ({"cells": [0]}, "kind"),
    ],
)
def test_a_body_that_is_wrong_is_400_and_says_where(context, made, ada, body, words):
    answer = ada.post("changes", body)
    assert answer.status_code == 400
    assert words in why(answer)
    assert context.store.review(made.key).version == 0


def test_only_json_is_taken(ada):
    headers = {"X-CSRF-Token": ada.token, "Accept": "application/json"}
    assert (
        ada.post("changes", json=None, data="{", headers=headers, content_type="text/plain").status_code
        == 400
    )
    assert (
        ada.post("changes", json=None, data="{", headers=headers, content_type="application/json").status_code
        == 400
    )


def signed(ada, verdict="agree", remark=""):
    ada.change("decide", value=verdict)
    if remark:
        ada.change("remark", value=remark)
    return ada.post("signature")


def test_signing_needs_a_verdict_that_fits(context, made, ada):
    assert "Say first" in why(ada.post("signature"))
    assert "says why" in why(signed(ada, "reject"))
    ada.change("conclude", value="ALL")
    assert "Choose amend" in why(signed(ada, "agree"))
    assert context.store.signed(made.key) is None


def test_agreeing_signs_what_the_machine_found(context, made, ada):
    answer = signed(ada)
    assert answer.status_code == 200
    held = context.store.signed(made.key)
    assert held.state is SignatureState.NOT_CONFIGURED
    assert (held.signature.verdict, held.signature.conclusion) == (Verdict.AGREE, Pattern.AML)
    assert held.signature.differential == made.outcome.differential
    assert "signed here; no FHIR server is configured" in answer.json["html"]["signing"]


def test_a_rejected_reading_concludes_nothing(context, made, ada):
    assert signed(ada, "reject", "Not this patient's smear.").status_code == 200
    signature = context.store.signed(made.key).signature
    assert (signature.verdict, signature.conclusion) == (Verdict.REJECT, None)
    assert signature.remark == "Not this patient's smear."


def test_a_smear_that_was_not_analysed_is_signed_too(context):
    made = assessment(outcome=not_analysed())
    context.store.save(made, ReportState.PENDING)
    assert signed(Reviewer(context, made, **ADA)).status_code == 200
    signature = context.store.signed(made.key).signature
    assert (signature.differential, signature.conclusion) == (None, None)


def test_a_signature_of_a_version_that_is_not_the_last_is_refused(context, made, ada):
    ada.change("decide", value="agree")
    ben = Reviewer(context, made, **BEN)
    ben.change("decide", value="amend", version=1)
    answer = ada.post("signature")
    assert answer.status_code == 409
    assert context.store.signed(made.key) is None


def test_a_signature_waits_in_the_store_when_the_queue_is_out(context, made):
    def out(key):
        raise UpstreamUnavailable("the queue is out")

    with FakeFhirServer(patient()) as server:
        fhir = context.fhir_server(server.url, None)
        waiting = replace(context, pages=replace(context.pages, fhir=fhir, submit_signature=out))
        answer = signed(Reviewer(waiting, made, **ADA))
    assert answer.status_code == 200
    assert answer.json["signed"] == "pending"
    assert "not yet on the FHIR server" in answer.json["html"]["signing"]
    assert context.store.unwritten_signatures(9) == [made.key]


def test_why_a_signature_is_not_further_is_told_as_it_becomes_known(context, made):
    with FakeFhirServer(patient()) as server:
        fhir = context.fhir_server(server.url, None)
        ada = Reviewer(replace(context, pages=replace(context.pages, fhir=fhir)), made, **ADA)
        told = signed(ada).json
    assert "Preliminary" not in told["notice"]
    asked = {"since": told["version"], "signed": told["signed"]}
    assert "html" not in ada.client.get(f"{ada.url}/review", query_string=asked).json
    number = context.store.signed(made.key).signature.number
    context.store.signature_failed(made.key, number, "the server knows no such clinician", lambda _: 60.0)
    again = ada.client.get(f"{ada.url}/review", query_string=asked).json
    assert "the server knows no such clinician" in again["html"]["signing"]
    asked["signed"] = again["signed"]
    assert "html" not in ada.client.get(f"{ada.url}/review", query_string=asked).json


def test_the_patient_is_named_once_the_report_is_written(context, made):
    assert Reviewer(context, made, **ADA).client.get(f"/api/studies/{made.key}/patient").json == {
        "name": "",
        "birth_date": "",
        "soon": False,
    }
    named = patient() | {"name": [{"given": ["Eve"], "family": "Doe"}], "birthDate": "1970-01-02"}
    with FakeFhirServer(named) as server:
        fhir = context.fhir_server(server.url, None)
        ada = Reviewer(replace(context, pages=replace(context.pages, fhir=fhir)), made, **ADA)
        assert ada.client.get(f"{ada.url}/patient").json == {"name": "", "birth_date": "", "soon": True}
        assert server.received == []
        context.store.mark_written(made.key, "DiagnosticReport/1")
        told = {"name": "Eve Doe", "birth_date": "1970-01-02", "soon": False}
        assert ada.client.get(f"{ada.url}/patient").json == told


def test_a_page_that_asks_for_news_is_recorded_when_there_are_some(context, ada, made):
    """A page asks every few seconds for as long as it is open: a look is what shows something."""
    ada.change("reclassify", [1], "promyelocyte")
    before = len(context.store.audit())
    for _ in range(3):
        assert "html" not in ada.client.get(f"{ada.url}/review?since=1&signed=").json
    assert len(context.store.audit()) == before
    assert ada.client.get(f"{ada.url}/review?since=0&signed=").json["html"]
    assert len(context.store.audit()) == before + 1
    stranger = Reviewer(context, made, user="Practitioner/3", patient="Patient/p-2")
    assert stranger.client.get(f"{stranger.url}/review?since=1&signed=").status_code == 403
    assert len(context.store.audit()) == before + 2


def test_looking_again_tells_only_what_is_new(ada):
    assert ada.client.get(f"{ada.url}/review?since=0&signed=").json == {"version": 0}
    ada.change("exclude", [0])
    assert ada.client.get(f"{ada.url}/review?since=1&signed=").json == {"version": 1}
    again = ada.client.get(f"{ada.url}/review?since=0&signed=").json
    assert (again["version"], again["news"]) == (1, [])  # one's own change is no news
