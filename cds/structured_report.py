"""A finding as DICOM: Comprehensive 3D SR by the template of measurement reports (PS3.16 TID 1500).

The same finding always gives the same instance, so storing it again changes nothing.
"""

import io
from collections.abc import Iterator, Sequence
from datetime import UTC

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    SourceImageForMeasurementGroup,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes

from cds.cell_types import GROUPS
from cds.language import ENGLISH, Words, message
from cds.microscopy import IMPLEMENTATION_CLASS_UID, derived_uid
from cds.values import CLASSES, Assessment, Finding, ImageRef
from fhir_profiles.codes import (
    BLASTS,
    CELL_COUNTS,
    DCM,
    DIFFERENTIAL,
    LOINC,
    NORMAL,
    PATTERN_PROBABILITIES,
    PATTERNS,
    PERCENT,
    SMEAR_FINDING,
    SNOMED_CT,
    WHITE_CELLS_COUNTED,
    Code,
)

#: Designators of coding schemes (PS3.16 section 8); ours is private.
_SCHEMES = {LOINC: "LN", SNOMED_CT: "SCT", DCM: "DCM"}
_OURS = "99LEUKOCDS"
_MAX_MEANING = 64
_NAME = "LeukoCDS"
#: High, as numbers of series go: below those that a scanner counts up.
_SERIES_NUMBER = 9901


def structured_report(
    assessment: Assessment,
    images: Sequence[ImageRef],
    described: Dataset,
    *,
    series_uid: str,
    words: Words = ENGLISH,
) -> bytes:
    """The report as a Part 10 file, of an assessment whose outcome is a Finding.

    images: what was read. described: patient and study, as the images have them.
    """
    finding = assessment.outcome
    assert isinstance(finding, Finding)
    report = Comprehensive3DSR(
        evidence=[_evidence(ref, described) for ref in images],
        content=_content(assessment, finding, images, words),
        series_instance_uid=series_uid,
        series_number=_SERIES_NUMBER,
        sop_instance_uid=derived_uid("structured report", assessment.key),
        instance_number=1,
        manufacturer=_NAME,
        is_complete=True,
        is_final=False,  # preliminary, and unverified: no human has seen it
    )
    report.SpecificCharacterSet = "ISO_IR 192"
    report.SeriesDescription = words.text(message("Blood smear, automated image analysis, preliminary"))
    report.ManufacturerModelName = assessment.model.name
    report.SoftwareVersions = assessment.model.version
    # When the smear was read, not when this is written: writing it again must give the same.
    read_at = assessment.read_at.astimezone(UTC)
    report.TimezoneOffsetFromUTC = "+0000"
    for name in ("ContentDate", "SeriesDate", "InstanceCreationDate"):
        setattr(report, name, read_at.strftime("%Y%m%d"))
    for name in ("ContentTime", "SeriesTime", "InstanceCreationTime"):
        setattr(report, name, read_at.strftime("%H%M%S"))
    for equipment in report.get("ContributingEquipmentSequence", []):
        equipment.ContributionDateTime = read_at.strftime("%Y%m%d%H%M%S+0000")
    report.file_meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    report.file_meta.ImplementationVersionName = _NAME.upper()
    buffer = io.BytesIO()
    report.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _evidence(ref: ImageRef, described: Dataset) -> Dataset:
    image = Dataset()
    image.update(described)
    image.SpecificCharacterSet = "ISO_IR 192"
    image.StudyInstanceUID, image.SeriesInstanceUID = ref.study_uid, ref.series_uid
    image.SOPInstanceUID, image.SOPClassUID = ref.sop_instance_uid, ref.sop_class_uid
    return image


def _content(
    assessment: Assessment, finding: Finding, images: Sequence[ImageRef], words: Words
) -> MeasurementReport:
    model = assessment.model
    device = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device", model.digest),
        name=_NAME,
        manufacturer_name=_NAME,
        model_name=model.name,
        serial_number=model.digest,
    )
    evaluations = [QualitativeEvaluation(_concept(SMEAR_FINDING), _concept(PATTERNS[finding.pattern]))]
    if finding.pattern == "healthy":
        evaluations.append(QualitativeEvaluation(_concept(SMEAR_FINDING), _concept(NORMAL)))
    return MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(
                observer_type=codes.DCM.Device, observer_identifying_attributes=device
            )
        ),
        procedure_reported=_concept(DIFFERENTIAL),
        imaging_measurements=[
            MeasurementsAndQualitativeEvaluations(
                tracking_identifier=TrackingIdentifier(
                    uid=derived_uid("tracking", assessment.key),
                    identifier=words.text(message("Differential of the blood smear")),
                ),
                algorithm_id=AlgorithmIdentification(name=model.name, version=model.version),
                measurements=list(_measurements(finding)),
                qualitative_evaluations=evaluations,
                source_images=[
                    SourceImageForMeasurementGroup(str(ref.sop_class_uid), ref.sop_instance_uid)
                    for ref in images
                ],
            )
        ],
        title=codes.DCM.ImagingMeasurementReport,
    )


def _measurements(finding: Finding) -> Iterator[Measurement]:
    """White cells, blasts together, then each type by number and percent, and the probabilities of the patterns."""
    differential = finding.differential
    yield _count(WHITE_CELLS_COUNTED, differential.total)
    if differential.total:
        yield _percent(BLASTS, differential.fraction(*GROUPS["blasts"]))
    for cell_type, count in sorted(differential.counts.items(), key=lambda pair: (-pair[1], pair[0])):
        if cell_type in CELL_COUNTS:
            yield _count(CELL_COUNTS[cell_type], count)
        if cell_type in PERCENT:
            yield _percent(PERCENT[cell_type], differential.fraction(cell_type))
    for pattern in CLASSES:
        probability = round(finding.probabilities[pattern], 4)
        yield Measurement(_concept(PATTERN_PROBABILITIES[pattern]), probability, codes.UCUM.NoUnits)


def _count(name: Code, value: int) -> Measurement:
    return Measurement(_concept(name), value, CodedConcept("{cells}", "UCUM", "cells"))


def _percent(name: Code, fraction: float) -> Measurement:
    return Measurement(_concept(name), round(100 * fraction, 2), codes.UCUM.Percent)


def _concept(code: Code) -> CodedConcept:
    return CodedConcept(code.code, _SCHEMES.get(code.system, _OURS), code.display[:_MAX_MEANING])
