"""The simulated hospital's pages, with an EHR that answers what the test says."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from hooks.demo.charts import add_pages, moment, rows, value
from hooks.demo.ehr import EhrError
from hooks.demo.hospital import Hospital
from hooks.demo.patients import PATIENTS, Admitted, Patient


class ToldEhr:
    """Answers every chart with `cards`, or fails with `error`."""

    def __init__(self) -> None:
        self.cards: list[dict[str, Any]] = []
        self.error: EhrError | None = None

    def open_chart(self, patient: Patient) -> list[dict[str, Any]]:
        if self.error is not None:
            raise self.error
        return self.cards


@pytest.fixture
def ehr() -> ToldEhr:
    return ToldEhr()


@pytest.fixture
def client(ehr: ToldEhr) -> FlaskClient:
    hospital = Hospital()
    admitted = {p.id: Admitted(patient=p, study_uid="2.25.1", images=(b"\xff\xd8",)) for p in PATIENTS}
    add_pages(hospital.app, hospital, ehr, admitted)  # type: ignore[arg-type]
    hospital.stop()
    return hospital.app.test_client()


def card(**parts: Any) -> dict[str, Any]:
    return {"summary": "s", "indicator": "info", "source": {"label": "LeukoCDS"}} | parts


def test_a_card_is_shown_with_all_its_parts(client: FlaskClient, ehr: ToldEhr) -> None:
    ehr.cards = [
        card(
            summary="AML pattern",
            indicator="critical",
            detail="**bold**\n\n| a | b |\n|---|---|\n| 1 | 2 |",
            suggestions=[{"label": "Order it", "isRecommended": True}],
            links=[{"label": "Study", "url": "http://127.0.0.1:1/studies/1", "type": "absolute"}],
        )
    ]
    page = client.get("/chart/demo-1").text
    for part in (
        "AML pattern",
        "card critical",
        "<strong>bold</strong>",
        "<td>1</td>",
        "Order it",
        "/studies/1",
    ):
        assert part in page


def test_what_a_card_says_stays_text(client: FlaskClient, ehr: ToldEhr) -> None:
    ehr.cards = [card(summary="<script>1</script>", detail="<script>2</script> [x](javascript:alert(3))")]
    page = client.get("/chart/demo-1").text
    assert "<script" not in page
    assert 'href="javascript' not in page


def test_an_outage_is_told_from_no_cards(client: FlaskClient, ehr: ToldEhr) -> None:
    assert "No cards." in client.get("/chart/demo-1").text
    ehr.error = EhrError("nobody answers")
    page = client.get("/chart/demo-1").text
    assert "nobody answers" in page
    assert "outage" in page
    assert "No cards." not in page


def test_unknown_patients_and_images_are_not_found(client: FlaskClient) -> None:
    for path in ("/chart/nobody", "/chart/demo-1/images/1.jpg", "/chart/nobody/images/0.jpg"):
        assert client.get(path).status_code == 404
    assert client.get("/chart/demo-1/images/0.jpg").mimetype == "image/jpeg"


def test_a_number_and_a_percent_of_the_same_cells_share_a_row() -> None:
    components = [
        {"code": {"text": "Myeloblast, number counted"}, "valueInteger": 18},
        {"code": {"text": "Myeloblast"}, "valueQuantity": {"value": 58.06, "unit": "%"}},
    ]
    assert rows({"component": components}) == [("Myeloblast", "18", "58.1 %")]


def test_values_in_words() -> None:
    assert value({"valueString": "text"}) == "text"
    assert value({"valueCodeableConcept": {"coding": [{"code": "c", "display": "d"}]}}) == "d"
    assert value({"dataAbsentReason": {"text": "blurred"}}) == "blurred"
    assert moment("2026-11-23T07:30:00.208+02:00") == "2026-11-23 05:30 UTC"
