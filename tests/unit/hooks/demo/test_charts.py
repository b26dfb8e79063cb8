"""The simulated hospital's pages as they leave its server; what their scripts do, tests/browser shows."""

import json
import re
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from fhir_profiles.codes import ORDER
from hooks.demo.charts import add_pages, moment, rows, value
from hooks.demo.desk import Desk
from hooks.demo.hospital import Hospital
from hooks.demo.patients import PATIENTS, Admitted
from hooks.signing import Signer

PEOPLE = (*PATIENTS, replace(PATIENTS[0], id="nasty", family="<script>1</script>"))


@pytest.fixture
def client() -> FlaskClient:
    hospital = Hospital()
    desk = Desk(service_url="http://127.0.0.1:1", signer=Signer.new("urn:ehr"), fhir_token="t0ken")
    admitted = {p.id: Admitted(patient=p, study_uid="2.25.1", images=(b"\xff\xd8",)) for p in PEOPLE}
    add_pages(hospital.app, hospital, desk, admitted)
    hospital.fhir.put(
        {
            "resourceType": "DiagnosticReport",
            "id": "r",
            "status": "preliminary",
            "subject": {"reference": "Patient/demo-1"},
            "conclusion": "<b>AML</b> pattern. More of it.",
        }
    )
    hospital.stop()
    return hospital.app.test_client()


def test_a_chart_knows_its_patient_and_its_service_but_no_secret(client: FlaskClient) -> None:
    page = client.get("/chart/demo-1").text
    found = re.search(r'<script type="application/json" id="ehr">(.*?)</script>', page)
    assert found is not None
    ehr = json.loads(found[1])
    assert (ehr["patient"], ehr["service"], ehr["systemActions"]) == ("demo-1", "http://127.0.0.1:1", False)
    assert "t0ken" not in page
    assert "BEGIN" not in page
    assert "patient_view.js" in page
    assert "Nothing was asked" in page  # where scripts do not run


def test_pages_hold_no_script_of_their_own_and_call_nobody_else(client: FlaskClient) -> None:
    for path in ("/", "/chart/demo-1", "/chart/demo-1/orders"):
        answer = client.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe-inline" not in policy
        assert "connect-src 'self' http://127.0.0.1:1;" in policy
        assert re.findall(r"<script(?![^>]*(?: src=|json))[^>]*>|style=|\son\w+=", answer.text) == []


def test_the_orders_that_the_service_proposes_are_in_the_catalogue(client: FlaskClient) -> None:
    page = client.get("/chart/demo-1/orders").text
    assert f'<option value="flow-cytometry" data-system="{ORDER}">' in page
    assert "orders.js" in page


def test_what_names_and_reports_say_stays_text(client: FlaskClient) -> None:
    page = client.get("/chart/nasty").text
    assert "<script>1" not in page
    assert "&lt;script&gt;1" in page
    for path in ("/", "/chart/demo-1", "/chart/demo-1/reports"):
        assert "&lt;b&gt;AML&lt;/b&gt; pattern" in client.get(path).text


def test_unknown_patients_and_images_are_not_found(client: FlaskClient) -> None:
    for path in (
        "/chart/nobody",
        "/chart/nobody/orders",
        "/chart/nobody/reports",
        "/chart/demo-1/images/1.jpg",
        "/chart/nobody/images/0.jpg",
    ):
        assert client.get(path).status_code == 404
    assert client.get("/chart/demo-1/images/0.jpg").mimetype == "image/jpeg"


def test_a_number_and_a_percent_of_the_same_cells_share_a_row() -> None:
    components = [
        {"code": {"text": "Myeloblast, number counted"}, "valueInteger": 18},
        {"code": {"text": "Myeloblast"}, "valueQuantity": {"value": 58.06, "unit": "%"}},
    ]
    assert rows({"component": components}) == [("Myeloblast", "18", "58.1 %")]
    components[0]["code"]["text"] = "Myeloblast, gezählte Anzahl"
    assert rows({"component": components}) == [("Myeloblast", "18", "58.1 %")]


def test_values_in_words() -> None:
    assert value({"valueString": "text"}) == "text"
    assert value({"valueCodeableConcept": {"coding": [{"code": "c", "display": "d"}]}}) == "d"
    for stored, shown in ((0.9312, "93 %"), (1, "> 99 %"), (0, "< 1 %")):
        assert value({"valueQuantity": {"value": stored, "unit": "probability", "code": "1"}}) == shown
    assert value({"dataAbsentReason": {"text": "blurred"}}) == "blurred"
    assert moment("2026-11-23T07:30:00.208+02:00") == "2026-11-23 05:30 UTC"
