"""Assessments to store, show and write, with every field filled."""

from datetime import UTC, datetime

from cds.values import (
    CLASSES,
    Assessment,
    Cell,
    Differential,
    Finding,
    ImageReading,
    ModelIdentity,
    NotAnalysed,
    NotAnalysedReason,
    Pattern,
    StudyRef,
)

MODEL = ModelIdentity(name="cells", version="1.2.3", digest="ab" * 32)
READ_AT = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)


def study(number: int = 1, **values: object) -> StudyRef:
    filled = {
        "archive_url": "http://127.0.0.1:8042/dicom-web",
        "imaging_study": "ImagingStudy/7",
        "patient": "Patient/p-1",
        "encounter": "Encounter/e.1",
        "number_of_instances": 2,
        "started": "2026-03-04",
    }
    return StudyRef(study_uid=f"1.2.826.0.1.{number}", **{**filled, **values})  # type: ignore[arg-type]


def finding(cells: int = 3) -> Finding:
    return Finding(
        pattern=Pattern.AML,
        probabilities=dict(zip(CLASSES, (0.1, 0.2, 0.5, 0.05, 0.15), strict=True)),
        differential=Differential({"myeloblast": 40, "neutrophil": 57}, {"smudge cell": 3}),
        evidence=("Blasts 41 % (95 % interval 32 to 51 %).", "Größe, µm: ‘gut’ 🩸"),
        cells=tuple(
            Cell(
                source=f"1.2.3.{i % 2}#1",
                row=1 / 3 + i,
                column=10.5,
                cell_type="myeloblast",
                probability=0.1 * (i % 9),
                thumbnail=b"\xff\xd8\x00" + i.to_bytes(2) if i % 2 == 0 else None,
            )
            for i in range(cells)
        ),
        possible_apl=True,
    )


def assessment(
    number: int = 1,
    outcome: Finding | NotAnalysed | None = None,
    read_at: datetime = READ_AT,
    instance_uids: tuple[str, ...] = ("1.2.3.0", "1.2.3.1"),
    **of_study: object,
) -> Assessment:
    return Assessment(
        study=study(number, **of_study),
        model=MODEL,
        instance_uids=instance_uids,
        outcome=outcome or finding(),
        images=(
            ImageReading(
                source="1.2.3.0#1",
                cells=2,
                cells_refused=1,
                quality=0.75,
                um_per_px=0.1,
                scale_origin="stated",
            ),
            ImageReading(source="1.2.3.1", refused="The JPEG data ends too early."),
        ),
        read_at=read_at,
        seconds=1.5,
    )


def not_analysed() -> NotAnalysed:
    return NotAnalysed(reason=NotAnalysedReason.TOO_FEW_CELLS, detail="Only 12 white cells were found.")


def imaging_study_of(ref: StudyRef) -> dict[str, object]:
    """The ImagingStudy that names `ref`, as the FHIR server holds it."""
    assert ref.imaging_study is not None
    return {
        "resourceType": "ImagingStudy",
        "id": ref.imaging_study.partition("/")[2],
        "status": "available",
        "identifier": [{"system": "urn:dicom:uid", "value": f"urn:oid:{ref.study_uid}"}],
        "subject": {"reference": ref.patient},
    }
