"""The simulated hospital's pages: who is there, each chart with its cards, reports and images, and its orders."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, abort, render_template

from cds.language import ENGLISH, LANGUAGES, words
from cds.report_text import number_counted
from fhir_profiles.codes import ORDERS
from hooks.demo.desk import Desk, add_desk
from hooks.demo.hospital import Hospital
from hooks.demo.patients import Admitted

Resource = dict[str, Any]

#: How reports mark the number that goes with a percent, in each language.
_NUMBERS = tuple(words(language).text(number_counted("")) for language in LANGUAGES)
#: A probability is no percent there; it has four digits, and none is nought or one.
_PROBABILITY, _LEAST = "probability", 0.00005


def add_pages(app: Flask, hospital: Hospital, desk: Desk, admitted: Mapping[str, Admitted]) -> None:
    """Before the first request; `admitted` may fill later. The pages' scripts send the hooks, as an EHR's do."""
    app.add_template_filter(concept, "concept")
    app.add_template_filter(value, "value")
    app.add_template_filter(rows, "rows")
    app.add_template_filter(moment, "moment")
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    add_desk(app, hospital, desk)

    def person_of(patient_id: str) -> Admitted:
        return admitted[patient_id] if patient_id in admitted else abort(404)

    def page(template: str, patient_id: str, **values: Any) -> str:
        person = person_of(patient_id)
        return render_template(
            template,
            person=person.patient,
            images=len(person.images),
            ehr=desk.configuration(hospital, patient_id),
            **values,
        )

    @app.get("/")
    def patients() -> str:
        people = [
            (person.patient, _said(reports_of(hospital, person.patient.id))) for person in admitted.values()
        ]
        return render_template("patients.html", people=people)

    @app.get("/chart/<patient_id>")
    def chart(patient_id: str) -> str:
        return page("chart.html", patient_id, reports=_shown(hospital, patient_id))

    @app.get("/chart/<patient_id>/orders")
    def orders(patient_id: str) -> str:
        catalogue = [code.coding() for code in ORDERS.values()]
        return page("orders.html", patient_id, catalogue=catalogue)

    @app.get("/chart/<patient_id>/reports")
    def reports(patient_id: str) -> str:
        """The part of the chart that changes when a report was written."""
        person_of(patient_id)
        return render_template("reports.html", reports=_shown(hospital, patient_id))

    @app.get("/chart/<patient_id>/images/<int:number>.jpg")
    def image(patient_id: str, number: int) -> Response:
        images = person_of(patient_id).images
        return Response(images[number], mimetype="image/jpeg") if number < len(images) else abort(404)


def _shown(hospital: Hospital, patient_id: str) -> list[tuple[Resource, list[Resource]]]:
    """Each report with its results, the newest first."""
    found = reports_of(hospital, patient_id)
    return [(report, results_of(hospital, report)) for report in reversed(found)]


def reports_of(hospital: Hospital, patient_id: str) -> list[Resource]:
    return hospital.fhir.search("DiagnosticReport", {"patient": f"Patient/{patient_id}"})


def results_of(hospital: Hospital, report: Resource) -> list[Resource]:
    """The Observations that a report names."""
    return [hospital.fhir.read(*result["reference"].split("/")) for result in report.get("result", [])]


def concept(codeable: Resource | None) -> str:
    """A CodeableConcept in words."""
    codeable = codeable or {}
    codings = codeable.get("coding") or [{}]
    return codeable.get("text") or codings[0].get("display") or codings[0].get("code") or ""


def value(holder: Resource) -> str:
    """The value of an Observation or of one of its components, in words."""
    if "valueQuantity" in holder:
        quantity = holder["valueQuantity"]
        if quantity.get("unit") == _PROBABILITY:
            return ENGLISH.percent(min(max(quantity["value"], _LEAST), 1 - _LEAST))
        return f"{quantity['value']:.3g} {quantity.get('unit', '')}".strip()
    if "valueCodeableConcept" in holder:
        return concept(holder["valueCodeableConcept"])
    for name, held in holder.items():
        if name.startswith("value"):
            return str(held)
    return concept(holder.get("dataAbsentReason"))


def rows(result: Resource) -> list[tuple[str, ...]]:
    """An Observation's components: what, and its values; a number and a percent of the same thing share a row."""
    found: dict[str, list[str]] = {}
    for component in result.get("component", []):
        name = concept(component["code"])
        for suffix in _NUMBERS:
            name = name.removesuffix(suffix)
        found.setdefault(name, []).append(value(component))
    return [(name, *values) for name, values in found.items()]


def moment(instant: str) -> str:
    """A FHIR instant to the minute."""
    return f"{datetime.fromisoformat(instant).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _said(reports: Sequence[Resource]) -> str:
    """The verdict of the latest report: the first sentence of its conclusion."""
    if not reports:
        return "No smear report yet"
    return str(reports[-1].get("conclusion", "Report without a conclusion")).partition(". ")[0]
