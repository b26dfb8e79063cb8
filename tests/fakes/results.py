"""Results as a real reader gives them, for reports: every cell type and code of the tables has its place."""

from datetime import UTC, datetime

from cds.values import (
    CLASSES,
    Assessment,
    Differential,
    Finding,
    ImageReading,
    ModelIdentity,
    NotAnalysed,
    NotAnalysedReason,
    Pattern,
    StudyRef,
)

MODEL = ModelIdentity(name="leukocds-cells-resnet34", version="0.1.0", digest="5e" * 32)
STUDY = StudyRef(
    study_uid="1.2.826.0.1.3680043.10.1",
    imaging_study="ImagingStudy/smear-1",
    patient="Patient/p-1",
    encounter="Encounter/visit-1",
    started="2026-03-02T10:15:00+01:00",
)
INSTANCES = (f"{STUDY.study_uid}.1.1", f"{STUDY.study_uid}.1.2")
READ_AT = datetime(2026, 3, 2, 9, 20, 30, 123456, tzinfo=UTC)

AML = Finding(
    pattern=Pattern.AML,
    probabilities=dict(zip(CLASSES, (0.004, 0.021, 0.93, 0.005, 0.04), strict=True)),
    differential=Differential(
        {"myeloblast": 31, "promyelocyte": 22, "segmented_neutrophil": 30, "lymphocyte": 14, "monocyte": 3},
        {"erythroblast": 2, "smudge_cell": 5, "platelet_or_artifact": 40},
    ),
    evidence=(
        "31 of 100 white cells are blasts (95 % interval 23 to 41 %).",
        "22 of 100 are promyelocytes (95 % interval 15 to 31 %).",
    ),
    possible_apl=True,
)
POOR = NotAnalysed(
    reason=NotAnalysedReason.POOR_QUALITY, detail="All 2 images are blurred; the sharpest scores 0.12 of 1."
)


def result(
    outcome: Finding | NotAnalysed = AML, *, study: StudyRef = STUDY, model: ModelIdentity = MODEL
) -> Assessment:
    return Assessment(
        study=study,
        model=model,
        instance_uids=INSTANCES,
        outcome=outcome,
        images=(
            ImageReading(source=INSTANCES[0], cells=100, quality=0.8, um_per_px=0.1, scale_origin="stated"),
            ImageReading(source=INSTANCES[1], refused="It is a monochrome image."),
        ),
        read_at=READ_AT,
        seconds=12.5,
    )


def finding(pattern: Pattern, counts: dict[str, int], **more: object) -> Finding:
    """A plain finding; the probability of its class is 0.9 (0.2 each when indeterminate)."""
    share = 0.025 if pattern in CLASSES else 0.2
    probabilities = {c: 0.9 if c is pattern else share for c in CLASSES}
    if pattern is Pattern.INDETERMINATE:
        more = {"reason": "no pattern is likely enough", **more}
    values = {"evidence": ("Plain evidence.",), **more}
    return Finding(
        pattern=pattern,
        probabilities=probabilities,
        differential=Differential(counts),
        **values,  # type: ignore[arg-type]
    )
