"""Example instances of the profiles, by the code that writes them in earnest; those of signing are written in FSH."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

from PIL import Image, ImageDraw

from cds import reading_task, supersession
from cds.reading_task import Progress, Stage, show_stage
from cds.report import report_bundle
from cds.report_attachments import Attachments, CellPicture
from cds.supersession import supersede_older
from cds.values import (
    CLASSES,
    Assessment,
    Cell,
    Differential,
    Finding,
    ImageReading,
    Job,
    JobState,
    ModelIdentity,
    NotAnalysed,
    NotAnalysedReason,
    Pattern,
    StudyRef,
)
from hooks.demo.fhir_double import FhirDouble

_READ_AT = datetime(2026, 3, 2, 9, 20, 30, 123000, tzinfo=UTC)
_MODEL = ModelIdentity(name="leukocds-example", version="1.0.0", digest="5e" * 32)
_STUDY = StudyRef(
    study_uid="2.25.7341",
    imaging_study="ImagingStudy/example-smear",
    patient="Patient/example-patient",
    started="2026-03-02T10:15:00+01:00",
)
_INSTANCES = ("2.25.7341.1.1", "2.25.7341.1.2")
_CELL = Cell(source=f"{_INSTANCES[0]}#2", row=211.5, column=640.0, cell_type="myeloblast", probability=0.97)
_PROBABILITIES = dict(zip(CLASSES, (0.004, 0.021, 0.93, 0.005, 0.04), strict=True))
_FINDING = Finding(
    pattern=Pattern.AML,
    probabilities=_PROBABILITIES,
    differential=Differential(
        {"myeloblast": 31, "promyelocyte": 22, "segmented_neutrophil": 30, "lymphocyte": 17},
        {"erythroblast": 2, "smudge_cell": 5},
    ),
    evidence=("31 of 100 white cells are blasts (31 %, 95 % interval 23 to 41 %).",),
    cells=(_CELL,),
    possible_apl=True,
)
_POOR = NotAnalysed(reason=NotAnalysedReason.POOR_QUALITY, detail="Both images are blurred.")
_CARD = b'{"name": "leukocds-example", "version": "1.0.0", "intended_use": "research only"}'


def examples() -> list[dict[str, Any]]:
    """What a test double of a server holds after three readings and three jobs, under ids that say what each is.

    The second reading took the place of the first; the third was of another study, which was too blurred.
    """
    with (
        patch.object(supersession, "utc_now", lambda: _READ_AT),
        patch.object(reading_task, "utc_now", lambda: _READ_AT),
    ):
        return list(_made())


def _made() -> Iterator[dict[str, Any]]:
    server = _Server()
    first = _assessment(_FINDING, _INSTANCES[:1], _READ_AT - timedelta(days=1))
    second = _assessment(_FINDING, _INSTANCES, _READ_AT)
    blurred = replace(_STUDY, study_uid="2.25.7342", imaging_study="ImagingStudy/example-blurred-smear")
    third = replace(_assessment(_POOR, ("2.25.7342.1.1",), _READ_AT), study=blurred)
    pictures = (CellPicture(cell=_CELL, jpeg=_drawing(), activation_map=True),)
    server.transaction(report_bundle(first))
    server.transaction(
        report_bundle(
            second, Attachments(pictures=pictures, model_card=_CARD), server="https://ehr.example/fhir"
        )
    )
    supersede_older(second, server)
    server.transaction(report_bundle(third))
    report = f"DiagnosticReport/{server.named(second.key)}"
    for key, stage in (
        ("done", Stage(progress=Progress.DONE, report=report)),
        ("failed", Stage(progress=Progress.FAILED, reason="The image archive answered 403.")),
        ("running", Stage(progress=Progress.RUNNING)),
    ):
        job = Job(
            key=key, study=_STUDY, model_digest=_MODEL.digest, state=JobState.DONE,
            created_at=_READ_AT, updated_at=_READ_AT,
        )  # fmt: skip
        show_stage(job, stage, server, confirm=lambda: None)
    names = {first.key: "superseded", second.key: "aml", third.key: "not-analysed"}
    yield from server.renamed(names)


class _Server(FhirDouble):
    """The double as the port `FhirServer` sees it."""

    base_url = "https://ehr.example/fhir"

    def __init__(self) -> None:
        super().__init__()
        for kind, rid in (
            ("Patient", "example-patient"),
            ("ImagingStudy", "example-smear"),
            ("ImagingStudy", "example-blurred-smear"),
        ):
            self.put({"resourceType": kind, "id": rid})

    def transaction(self, bundle: Any, deadline: Any = None) -> Any:
        return super().transaction(bundle)

    def search(self, kind: str, params: Any, deadline: Any = None) -> Any:
        return super().search(kind, params)

    def read(self, reference: str, deadline: Any = None) -> Any:
        return super().read(*reference.split("/"))

    def capabilities(self, deadline: Any = None) -> Any:
        raise NotImplementedError

    def named(self, key: str) -> str:
        (report,) = self.search("DiagnosticReport", {"identifier": f"urn:leukocds:assessment|{key}"})
        return str(report["id"])

    def renamed(self, names: dict[str, str]) -> Iterator[dict[str, Any]]:
        """Every resource that we wrote, under an id that says what it is."""
        written = [r for r in self.everything() if r["resourceType"] not in ("Patient", "ImagingStudy")]
        ids = {f"{r['resourceType']}/{r['id']}": f"example-{_name(r, names)}" for r in written}
        text = json.dumps(written)
        for reference, new in ids.items():
            text = text.replace(f'"{reference}"', f'"{reference.partition("/")[0]}/{new}"')
        for reference, resource in zip(ids, json.loads(text), strict=True):
            resource["id"] = ids[reference]
            del resource["meta"]["versionId"]
            yield {"resourceType": resource.pop("resourceType"), "id": resource.pop("id"), **resource}


def _name(resource: dict[str, Any], names: dict[str, str]) -> str:
    own = resource.get("identifier") or resource["meta"]["tag"]
    name = str(own[0].get("value", own[0].get("code")))
    if resource["resourceType"] in ("Device", "DocumentReference"):
        return "model"
    for key, said in names.items():
        name = name.replace(key, said)
    return name.replace(".", "-")


def _assessment(outcome: Finding | NotAnalysed, instances: tuple[str, ...], read_at: datetime) -> Assessment:
    return Assessment(
        study=_STUDY,
        model=_MODEL,
        instance_uids=instances,
        outcome=outcome,
        images=tuple(ImageReading(source=uid, cells=50, quality=0.8, um_per_px=0.1) for uid in instances),
        read_at=read_at,
        seconds=12.5,
    )


def _drawing() -> bytes:
    """A drawn cell, twice: no picture of anybody's blood."""
    image = Image.new("RGB", (96, 48), (236, 214, 220))
    draw = ImageDraw.Draw(image)
    for left in (0, 48):
        draw.ellipse((left + 8, 8, left + 40, 40), fill=(186, 160, 205))
        draw.ellipse((left + 12, 12, left + 36, 36), fill=(106, 70, 150))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    return buffer.getvalue()
